"""Networks as they are written, in the file and in files of their own."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sockd.config import Config, Document, KeyPath, Limits, Span, Text, load_document, read_networks
from sockd.config.network_sets import NONE, IPNetwork, Networks, packed
from sockd.errors import Fault, ValueFault

Load = Callable[[str], Config]
Faulty = Callable[[str], tuple[Fault, ...]]


def texts(networks: Networks) -> list[str]:
    return [str(network) for network in networks]


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", []),
        ("# nothing\n", []),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("192.0.2.1", ["192.0.2.1/32"]),
        ("::1", ["::1/128"]),
        ("2001:DB8::/32", ["2001:db8::/32"]),
        ("0.0.0.0/0 ::/0", ["0.0.0.0/0", "::/0"]),
        (
            "10.0.0.0/8,::1\n\n192.0.2.0/24  # office\r\n#10.1.0.0/16\n",
            ["10.0.0.0/8", "192.0.2.0/24", "::1/128"],
        ),
        ("::1#comment", ["::1/128"]),
    ],
)
def test_networks_stand_one_after_another(text: str, networks: list[str]) -> None:
    assert texts(read_networks(text)) == networks


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/95", "::/95"),
        ("::/96", "::/96"),
    ],
)
def test_a_network_of_ipv4_is_one_however_it_is_written(text: str, network: str) -> None:
    assert texts(read_networks(text)) == [network]


@pytest.mark.parametrize(
    ("text", "marked", "nearest"),
    [
        ("10.0.0.1/8", "10.0.0.1/8", "10.0.0.0/8"),
        ("::1\n2001:db8::1/32 # x", "2001:db8::1/32", "2001:db8::/32"),
        ("# 10.0.0.1/8\n::1, localhost", "localhost", None),
        ("10.0.0.0/33", "10.0.0.0/33", None),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/255.0.0.0", None),
        ("10.0.0.0/", "10.0.0.0/", None),
        ("10/8", "10/8", None),
        ("300.0.0.0", "300.0.0.0", None),
        ("fe80::1%eth0", "fe80::1%eth0", None),
        ("10.0.0.0/8;::1", "10.0.0.0/8;::1", None),
        ("\u0661.0.0.0", "\u0661.0.0.0", None),
    ],
)
def test_a_word_that_is_no_network_is_marked_with_the_one_that_was_meant(
    text: str, marked: str, nearest: str | None
) -> None:
    with pytest.raises(ValueFault) as caught:
        read_networks(text)
    fault = caught.value
    assert (text[fault.offset :][: fault.length], fault.nearest) == (marked, nearest)


@given(st.lists(st.ip_addresses().map(str) | st.ip_addresses(network="10.0.0.0/8").map("{}/32".format)))
def test_every_address_is_a_network(addresses: list[str]) -> None:
    networks = read_networks("\n".join(addresses))
    assert networks == Networks.of(map(ip_network, addresses))
    assert len(networks) == len({str(packed(address.partition("/")[0])) for address in addresses})


@given(st.text(alphabet="0123456789abcdef:./, \n#", max_size=40) | st.text(max_size=20))
@example("1" * 5000)
@example("::/" + "9" * 5000)
def test_any_text_is_networks_or_a_fault_within_it(text: str) -> None:
    start, end = 0, 1
    try:
        networks = read_networks(text)
    except ValueFault as fault:
        networks, start, end = NONE, fault.offset, fault.offset + fault.length
    assert Networks.of(ip_network(str(network)) for network in networks) == networks
    assert 0 <= start < end <= max(1, len(text))


def test_networks_stand_in_an_array_and_in_files(config: Load, tmp_path: Path) -> None:
    (tmp_path / "office").write_text("192.0.2.0/24\n2001:db8::/32 # v6\n")
    limits = config(
        """
        [limits]
        allow = ["10.0.0.0/8", { file = "office" }, "${NETWORKS}"]
        deny = { file = "office" }
        """
    ).limits
    assert texts(limits.allow) == ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]
    assert texts(limits.deny) == ["192.0.2.0/24", "2001:db8::/32"]


def test_a_file_of_networks_may_be_longer_than_a_secret(config: Load, tmp_path: Path) -> None:
    (tmp_path / "long").write_text("".join(f"10.0.{n // 256}.{n % 256}\n" for n in range(10_000)))
    limits = config('[limits]\nallow = { file = "long" }\ndeny = [{ file = "long" }]').limits
    assert len(limits.allow) == len(limits.deny) == 10_000


def test_a_file_of_networks_has_an_end_too(faults: Faulty, tmp_path: Path) -> None:
    (tmp_path / "long").write_text("#" * (8 * 2**20 + 1))
    [fault] = faults('[limits]\ndeny = { file = "long" }')
    assert (
        fault.message
        == f"limits.deny: cannot read {tmp_path / 'long'}: expected at most 8388608 bytes, found more"
    )


@pytest.mark.parametrize(
    ("value", "message", "part"),
    [
        (
            '["::1", "10.0.0.1/8"]',
            "[1]: expected a network that has no bits below its prefix, found '10.0.0.1/8'",
            "10.0.0.1/8",
        ),
        (
            '"::1, somewhere"',
            ": expected a network such as 10.0.0.0/8 or 2001:db8::/32, found 'somewhere'",
            "somewhere",
        ),
        ("[5]", "[0]: expected a network such as 10.0.0.0/8 or 2001:db8::/32, found 5", "5"),
        ("5", ": expected networks such as 10.0.0.0/8, or an array of them, found 5", "5"),
        ("true", ": expected networks such as 10.0.0.0/8, or an array of them, found true", "true"),
        (
            "{ a = 1 }",
            ": expected networks such as 10.0.0.0/8, or an array of them, found a table",
            "{ a = 1 }",
        ),
    ],
)
@pytest.mark.parametrize("key", ["allow", "deny"])
def test_a_fault_points_at_the_entry(faults: Faulty, key: str, value: str, message: str, part: str) -> None:
    [fault] = faults(f"[limits]\n{key} = {value}")
    assert fault.message == f"limits.{key}{message}"
    assert fault.source[fault.column - 1 :][: fault.length] == part


def test_every_entry_that_is_wrong_is_told(faults: Faulty) -> None:
    found = faults('[limits]\nallow = ["10.0.0.1/8", "::1", "x"]\ndeny = ["y"]')
    assert [(fault.line, fault.nearest) for fault in found] == [(2, "10.0.0.0/8"), (2, None), (3, None)]


def test_a_fault_in_a_file_names_the_line_and_shows_nothing_of_it(faults: Faulty, tmp_path: Path) -> None:
    """Keep the content of a wrong file out of the log."""
    (tmp_path / "networks").write_text("# ours\n::1\n\nhunter2\n")
    [whole, entry] = faults('[limits]\nallow = [{ file = "networks" }]\ndeny = { file = "networks" }')
    what = "expected a network such as 10.0.0.0/8 or 2001:db8::/32"
    found = 'found something else in line 4 of { file = "networks" }'
    assert whole.message == f"limits.allow[0]: {what}, {found}"
    assert entry.message == f"limits.deny: {what}, {found}"
    assert "hunter2" not in repr([whole, entry])


@pytest.mark.parametrize("value", ['{ file = "empty" }', '["::1", { file = "empty" }]', '""'])
def test_a_text_without_networks_does_not_let_everybody_in(
    faults: Faulty, tmp_path: Path, value: str
) -> None:
    (tmp_path / "empty").write_text("# nobody yet\n")
    [fault] = faults(f"[limits]\nallow = {value}")
    assert fault.message.endswith(": there is no network in it, which would let everybody in")


def test_a_text_without_networks_denies_nobody(config: Load, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert config('[limits]\ndeny = { file = "empty" }\nallow = []').limits == Limits()


def test_networks_may_stand_on_a_command_line() -> None:
    text, start = "serve --deny 192.0.2.1,::1", len("serve --deny ")
    spans: dict[KeyPath, Span] = {("limits", "deny"): Span(6, 12, start, len(text))}
    document = Document("command line", text, {"limits": {"deny": Text(text[start:])}}, spans, Path("/"))
    assert texts(load_document(document).limits.deny) == ["192.0.2.1/32", "::1/128"]


def test_code_gives_networks_themselves() -> None:
    networks: list[IPNetwork] = [IPv4Network("10.0.0.0/8"), IPv6Network("::1")]
    assert Limits(deny=Networks.of(networks)).deny == Networks.of(networks)
    assert Limits.model_validate({"deny": networks}).deny == Networks.of(networks)
    assert Limits.model_validate({"deny": ["10.0.0.0/8", "::1"]}).deny == Networks.of(networks)


def test_the_status_shows_the_number_of_many_networks() -> None:
    few = Limits.model_validate({"deny": ["::1", "10.0.0.0/8"]})
    many = Limits.model_validate({"deny": "\n".join(f"10.0.0.{n}" for n in range(101))})
    assert few.model_dump(mode="json")["deny"] == ["10.0.0.0/8", "::1/128"]
    assert many.model_dump(mode="json")["deny"] == ["101 networks"]


def test_a_long_list_that_has_not_changed_is_not_made_anew() -> None:
    text = "".join(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}\n" for n in range(10_000))
    assert read_networks(text) is read_networks(f"{text} ".rstrip(" "))
    assert read_networks(text + "::1\n") != read_networks(text)
