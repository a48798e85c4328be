import pytest

from sockd_plugins.files.http.dialects import NEWEST, Dialect, dialect_of


def spoken(**fields: str) -> Dialect:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return dialect_of(lambda name: named.get(name.lower()))


@pytest.mark.parametrize("version", range(3, 10))
def test_each_interop_version_has_its_dialect(version: int) -> None:
    assert spoken(upload_draft_interop_version=str(version)).version == version


@pytest.mark.parametrize("version", ["2", "10", "x", ""])
def test_an_unknown_version_gets_the_newest_words_and_no_interim_answer(version: str) -> None:
    assert spoken(upload_draft_interop_version=version) == NEWEST == spoken()
    assert NEWEST.version is None


def test_version_3_tells_that_an_upload_is_incomplete() -> None:
    dialect = spoken(upload_draft_interop_version="3")
    assert dialect.complete(True) == ("Upload-Incomplete", "?0")
    assert dialect.complete(False) == ("Upload-Incomplete", "?1")
    fields = {"Upload-Incomplete": "?1", "Upload-Complete": "?1"}
    assert dialect.reads_complete(fields.get) is False
    assert dialect.reads_complete(lambda _: None) is None


def test_later_versions_tell_that_it_is_complete() -> None:
    dialect = spoken(upload_draft_interop_version="4")
    assert dialect.complete(True) == ("Upload-Complete", "?1")
    assert dialect.reads_complete({"Upload-Complete": "?0"}.get) is False
    assert dialect.reads_complete({"Upload-Complete": "yes"}.get) is None


def test_the_limits_have_the_names_of_their_version() -> None:
    told = {
        version: spoken(upload_draft_interop_version=str(version)).limits(10, 60.5)
        for version in range(3, 10)
    }
    assert [told[version] for version in (3, 4, 5)] == [[], [], []]
    assert told[6] == [("Upload-Limit", "max-size=10, expires=60")]
    assert told[7] == told[8] == told[9] == [("Upload-Limit", "max-size=10, max-age=60")]
    assert NEWEST.limits(10) == [("Upload-Limit", "max-size=10")]
