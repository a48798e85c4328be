"""The `[metrics]` table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sockd.config import Config

ECHO = '[service.e]\nplugin = "echo"\nlisten = '


@pytest.mark.parametrize("text", ["", "[metrics]"])
def test_without_an_endpoint_there_is_no_metrics_port(config: Callable[[str], Config], text: str) -> None:
    assert config(text).metrics.listen is None


def test_the_endpoint_may_be_on_one_interface(config: Callable[[str], Config]) -> None:
    endpoint = "tcp:9100:interface=127.0.0.1"
    assert str(config(f'[metrics]\nlisten = "{endpoint}"').metrics.listen) == endpoint


def test_a_path_counts_from_the_folder_of_the_file(config: Callable[[str], Config], tmp_path: Path) -> None:
    listen = config('[metrics]\nlisten = "unix:run/metrics.sock"').metrics.listen
    assert str(listen) == f"unix:{tmp_path}/run/metrics.sock"


@pytest.mark.parametrize("written", ['"udp:9100"', '"unixgram:m"', "9100"])
def test_anything_but_a_stream_endpoint_is_a_fault(
    messages: Callable[[str], list[str]], written: str
) -> None:
    [found] = messages(f"[metrics]\nlisten = {written}")
    assert found.startswith(
        "metrics.listen: expected a stream endpoint such as tcp:9100:interface=127.0.0.1, found "
    )


def test_a_service_on_its_port_is_a_fault(messages: Callable[[str], list[str]]) -> None:
    [found] = messages(f'[metrics]\nlisten = "tcp:9100:interface=127.0.0.1"\n{ECHO}["tcp:9100"]')
    assert found.startswith(
        "service 'e': listen[0]: tcp:9100 overlaps tcp:9100:interface=127.0.0.1 of metrics.listen ("
    )


def test_a_service_may_have_its_port_for_datagrams(config: Callable[[str], Config]) -> None:
    assert config(f'[metrics]\nlisten = "tcp:9100"\n{ECHO}["udp:9100"]').metrics.listen is not None
