"""Options of the file receiver."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from typing_extensions import override

from sockd.plugin import ConfigPath, Duration, FileContent, Plugin, Size
from sockd.reading import obstacle_to_folder
from sockd_plugins.files.access.access import Means
from sockd_plugins.files.access.shares import Shares, UserQuota
from sockd_plugins.files.checks import (
    file_mode,
    file_names,
    file_owner,
    folder_name,
    listed_means,
    obstacle_to_owner,
    program_arguments,
    quotas_of_nobody,
    quotas_of_users,
    unasked_users,
    users_file,
    web_address,
    webhook_address,
)
from sockd_plugins.files.notices.bucket import obstacle as obstacle_to_bucket
from sockd_plugins.files.notices.program import PATH
from sockd_plugins.files.storage.sender import Share

_MOST_USERS = 1 << 20  # bytes of a file of users: some thousand of them


class FilesOptions(Plugin):
    """Options of one service."""

    directory: ConfigPath = Field(description="The folder for the files; made if it is missing.")
    max_size: Size = Field(
        default="16GiB", validate_default=True, ge=1, description="The largest file that is accepted."
    )
    reserve: Size = Field(
        default="64MiB", validate_default=True, description="Bytes that must stay free on the disk."
    )
    reserve_files: int = Field(
        default=1000,
        ge=0,
        description="Files (inodes) that other programs must still be able to make there.",
    )
    memory: Size = Field(
        default="64MiB",
        validate_default=True,
        ge=1 << 20,
        description="Memory of all uploads together, in each worker.",
    )
    min_rate: Size = Field(
        default=500,
        description="Bytes a second; an upload that falls five minutes behind is aborted. 0: never.",
    )
    mode: Annotated[str | None, BeforeValidator(file_mode)] = Field(
        default=None,
        description="Permissions of the files, such as '640'; by default the umask and the folder decide.",
    )

    owner: Annotated[str, AfterValidator(file_owner)] = Field(
        default="",
        description="Owner of the files, such as 'ann:staff', or ':staff' if the daemon is not root.",
    )
    names: Annotated[tuple[str, ...], AfterValidator(file_names)] = Field(
        default=(), description="Patterns of the names that are accepted, such as ['*.pdf']; by default any."
    )
    unverified: Annotated[str, AfterValidator(folder_name)] = Field(
        default="",
        description="Folder, in the directory, for what comes over 'raw' without its digest; '' for none.",
    )
    folders: bool = Field(
        default=False, description="Whether files may have relative names, such as 'folder/a.txt'."
    )
    quota: Size = Field(
        default=0, description="Bytes that the directory may hold, unfinished files included. 0: any."
    )
    quota_files: int = Field(default=0, ge=0, description="Files that the directory may hold. 0: any.")
    source_quota: Size = Field(
        default=0, description="Bytes of a source's unfinished files, an IPv6 source being a /64. 0: any."
    )
    source_files: int = Field(default=0, ge=0, description="A source's unfinished files. 0: any.")
    user_quota: Size = Field(
        default=0, description="Bytes that the folder of a user may hold, unfinished files included. 0: any."
    )
    user_files: int = Field(default=0, ge=0, description="Files that the folder of a user may hold. 0: any.")
    user_quotas: Annotated[dict[str, UserQuota], AfterValidator(quotas_of_users)] = Field(
        default_factory=dict,
        description="Quotas of single users in place of those: { ann = { size = '50GiB', files = 1000 } }.",
    )
    keep_parts: Duration = Field(
        default="1d",
        validate_default=True,
        description="Time for which an upload that can be resumed is kept after its last byte.",
    )
    tftp_transfers: int = Field(
        default=1000, ge=1, description="Files that may come over 'tftp' at once, in each worker."
    )
    tftp_source_transfers: int = Field(
        default=100, ge=1, description="Files of a source that may come over 'tftp' at once, in each worker."
    )

    on_received: Annotated[tuple[str, ...], AfterValidator(program_arguments)] = Field(
        default=(),
        description="Program with its arguments that is run for each received file, such as"
        " ['/usr/bin/clamscan', '{file}']; tried again until it exits with 0.",
    )
    on_received_timeout: Duration = Field(
        default="5m", validate_default=True, description="Time after which that program is ended."
    )
    webhook: Annotated[str, AfterValidator(webhook_address)] = Field(
        default="", description="URL to which a notice of each received file is posted, as JSON."
    )
    webhook_secret: str = Field(
        default="", description="Secret with which the notices to the webhook are signed."
    )

    bucket: str = Field(
        default="",
        description="Bucket of an object store that gets a copy of each received file: 's3://NAME/FOLDER'.",
    )
    bucket_options: dict[str, str] = Field(
        default_factory=dict,
        description="Options of that store, such as endpoint, region, access_key_id, secret_access_key.",
        repr=False,
    )

    serve: bool = Field(default=False, description="Whether received files are listed and sent over 'http'.")
    origins: tuple[str, ...] = Field(
        default=(),
        description="Origins of web pages on other hosts that may send files over 'http', such as"
        " 'https://example.org'; '*' for all.",
    )

    access: Annotated[tuple[Means, ...], BeforeValidator(listed_means)] = Field(
        default=("anyone",),
        min_length=1,
        description="Who may send: 'anyone', or whoever has one of 'tokens', 'users', 'certificates'.",
    )
    users: Annotated[bytes, FileContent(_MOST_USERS), AfterValidator(users_file)] = Field(
        default=b"",
        description="File with the users, a line for each password or key, as `sockd password` prints"
        " it. The files of a user go to a folder of that name.",
        repr=False,
    )
    receipts: Annotated[str, AfterValidator(folder_name)] = Field(
        default="",
        description="Folder, in the directory, for a signed receipt of each file; '' for none. Senders who"
        " ask for one get it in any case.",
    )
    url: Annotated[str, AfterValidator(web_address)] = Field(
        default="",
        description="Public address of the 'http' listener, such as 'https://drop.example.org', for the links"
        " of `sockd files invite`; by default that of the listener.",
    )

    host_key: ConfigPath | None = Field(
        default=None,
        description="The server's private key over 'sftp', as ssh-keygen makes it without a passphrase; by"
        " default one is made in the service's state folder.",
    )

    @override
    def problems(self) -> Iterable[tuple[str, str]]:
        if (reason := obstacle_to_folder(self.directory)) is not None:
            yield "directory", f"no files can be received: {reason}"
        if self.on_received and shutil.which(self.on_received[0], path=PATH) is None:
            yield "on_received", f"there is no program {self.on_received[0]!r}, or it may not be executed"
        if (reason := obstacle_to_owner(self.owner)) is not None:
            yield "owner", reason
        if (reason := unasked_users(self.users, self.access)) is not None:
            yield "users", reason
        usual = {"user_quota": self.user_quota, "user_files": self.user_files}
        yield from quotas_of_nobody(usual, self.user_quotas, self.users, self.access)
        if self.bucket and (reason := obstacle_to_bucket(self.bucket, self.bucket_options)) is not None:
            yield "bucket", reason
        if self.host_key is not None:
            from sockd_plugins.files.sftp import host_key  # only when it is needed: it imports much

            yield from (("host_key", fault) for fault in host_key.faults(self.host_key))

    @property
    def shares(self) -> Shares:
        """Bounds of the folders of users."""
        return Shares(Share(self.user_quota, self.user_files), self.user_quotas)
