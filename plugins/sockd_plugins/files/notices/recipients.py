"""Recipients of notices, from the options of a service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from sockd.plugin import Context
from sockd_plugins.files.notices.bucket import Bucket
from sockd_plugins.files.notices.delivery import Delivery, Recipient
from sockd_plugins.files.notices.outbox import Outbox
from sockd_plugins.files.notices.program import Program
from sockd_plugins.files.notices.webhook import Webhook


class Options(Protocol):
    """Options that name recipients."""

    directory: Path
    on_received: tuple[str, ...]
    on_received_timeout: float
    webhook: str
    webhook_secret: str
    bucket: str
    bucket_options: dict[str, str]


def list_recipients(options: Options, service: str) -> dict[str, Recipient]:
    """Return those who are to be told of files, by name.

    Args:
        options: of the service.
        service: its name.
    """
    recipients: dict[str, Recipient] = {}
    if options.on_received:
        recipients["program"] = Program(
            options.on_received, options.on_received_timeout, options.directory, service
        )
    if options.webhook:
        recipients["webhook"] = Webhook(options.webhook, options.webhook_secret, service)
    if options.bucket:
        recipients["bucket"] = Bucket(options.bucket, options.bucket_options, options.directory)
    return recipients


def open_delivery(recipients: Mapping[str, Recipient], directory: Path, context: Context) -> Delivery:
    """Begin to tell recipients of the files in a directory; this waits for the disk.

    Raises:
        OSError: the outbox cannot be used.
    """
    seconds = {name: recipient.seconds for name, recipient in recipients.items()}
    outbox = Outbox(context.state_dir, directory, seconds)
    return Delivery(outbox, recipients, context.clock, context.logger)
