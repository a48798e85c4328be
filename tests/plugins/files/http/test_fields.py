import pytest

from sockd_plugins.files.http.fields import boolean, disposition_name, integer, metadata
from sockd_plugins.files.storage.refused import FileRefused


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("0", 0),
        (" 15 ", 15),
        ("9" * 15, 10**15 - 1),
        ("9" * 16, None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        ("", None),
        (None, None),
        ("1, 1", None),
        ("٣", None),
        ("0x1", None),
    ],
)
def test_a_number_has_at_most_fifteen_digits_and_nothing_else(value: str | None, found: int | None) -> None:
    assert integer(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("?1", True),
        ("?0", False),
        (" ?1 ", True),
        ("?1;a=b", True),
        ("1", None),
        ("?2", None),
        ("true", None),
        ("", None),
        (None, None),
        ("?1, ?1", None),
    ],
)
def test_a_boolean_is_one_of_two_words(value: str | None, found: bool | None) -> None:
    assert boolean(value) is found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, {}),
        ("", {}),
        ("filename w6QgYi50eHQ=,e ", {"filename": "ä b.txt", "e": ""}),
        ("e,f YQ==", {"e": "", "f": "a"}),
        (" a YQ== , b Yg== ", {"a": "a", "b": "b"}),
    ],
)
def test_metadata_is_pairs_as_real_clients_send_them(value: str | None, found: dict[str, str]) -> None:
    assert metadata(value) == found


@pytest.mark.parametrize("value", ["a !", "a YQ", "a YQ== x", "a YQ==,a YQ==", "ä YQ==", "a /w=="])
def test_malformed_metadata_is_refused(value: str) -> None:
    with pytest.raises(FileRefused) as caught:
        metadata(value)
    assert caught.value.code == "bad-request"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, None),
        ("inline", None),
        ('inline; filename="a b.txt"', "a b.txt"),
        ("attachment; filename=a.txt; size=1", "a.txt"),
        (r'inline; filename="a\"b.txt"', 'a"b.txt'),
        ("inline; filename=\"x\"; filename*=UTF-8''%C3%A4.txt", "ä.txt"),
        ('inline; filename=""', None),
    ],
)
def test_the_name_in_a_disposition_is_found(value: str | None, found: str | None) -> None:
    assert disposition_name(value) == found
