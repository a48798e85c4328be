"""Keys in the wrong table."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Messages = Callable[[str], list[str]]

CHAT = '[service.c]\nplugin = "chat"\nlisten = ["tcp:2"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("history = 5", "'history' is an option of the plugin: it belongs into [service.c.options]"),
        ("limits.history = 5", "'history' is an option of the plugin: it belongs into [service.c.options]"),
        ("max_connections = 5", "'max_connections' is a limit: it belongs into [service.c.limits]"),
        ('options.lifetime = "5s"', "'lifetime' is a limit: it belongs into [service.c.limits]"),
        ("options.listen = []", "'listen' is a key of the service itself: it belongs into [service.c]"),
        ("tls = {}", "'tls' belongs to a listener: listen = [{ endpoint = \"tcp:7007\", tls = … }]"),
    ],
)
def test_a_key_of_a_service_is_sent_to_its_table(messages: Messages, text: str, message: str) -> None:
    assert messages(CHAT + text) == [f"service 'c': {message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = 2", "'workers' belongs into [daemon]"),
        ("max_connections = 2", "'max_connections' belongs into [limits]"),
        ('[e]\nplugin = "echo"\n', "unknown key 'e': a service is written [service.e]"),
    ],
)
def test_a_key_outside_of_all_tables_is_sent_to_its_table(
    messages: Messages, text: str, message: str
) -> None:
    assert messages(text) == [message]


def test_a_file_that_includes_itself_is_told(messages: Messages) -> None:
    text = f'[daemon]\ninclude = ["sockd.toml"]\n{CHAT}'
    assert messages(text) == ["daemon.include[0]: the file includes itself: leave it out"]
