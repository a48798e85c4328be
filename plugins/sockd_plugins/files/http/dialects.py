"""Dialects of draft-ietf-httpbis-resumable-upload: one row for each interop version that clients speak.

A client names the version in `Upload-Draft-Interop-Version`. Without it, or with one that is not in the
table, the client gets the words of the newest draft, but no 104: a draft forbids it then (its appendix "Draft
Version Identification"), and some clients take a 104 for the final answer.

    version   drafts        what changed
    3         01            fields Upload-Incomplete and Upload-Offset
    4         02            Upload-Complete in place of Upload-Incomplete
    5         03            104 tells the progress
    6         04, 05        application/partial-upload to append; Upload-Limit; Upload-Length (05)
    7         06 to 08      `max-age` in place of `expires` among the limits; an append is answered 204
    8         09 to 11      limits are always told
    9         12 and later  the fields are those of 8
"""

from __future__ import annotations

from dataclasses import dataclass

from sockd_plugins.files.http.fields import Getter, boolean, integer

VERSION = "Upload-Draft-Interop-Version"

PARTIAL = "application/partial-upload"
"""Media type of the content of an append."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """Words of one interop version.

    Attributes:
        version: as it is sent with a 104; None if no 104 may be sent.
        inverted: whether the field is Upload-Incomplete, with the opposite value.
        progress: whether a 104 may tell the progress.
        typed: whether an append needs the media type `PARTIAL`.
        appended: status of the answer to an append that does not complete the upload.
        age: name of the limit for the time until the upload expires; "" if no limits are told.
    """

    version: int | None
    inverted: bool = False
    progress: bool = False
    typed: bool = False
    appended: int = 201
    age: str = ""

    def complete(self, value: bool) -> tuple[str, str]:
        """Return the field that tells whether the upload is complete."""
        if self.inverted:
            return "Upload-Incomplete", "?0" if value else "?1"
        return "Upload-Complete", "?1" if value else "?0"

    def reads_complete(self, get: Getter) -> bool | None:
        """Return what the client says of its completeness; None if it says nothing, or nonsense."""
        if self.inverted:
            value = boolean(get("Upload-Incomplete"))
            return None if value is None else not value
        return boolean(get("Upload-Complete"))

    def limits(self, max_size: int, seconds: float | None = None) -> list[tuple[str, str]]:
        """Return the field with the limits.

        Args:
            max_size: bytes of a file at most.
            seconds: time until the upload expires; None if there is no upload yet.
        """
        if not self.age:
            return []
        age = "" if seconds is None else f", {self.age}={max(0, int(seconds))}"
        return [("Upload-Limit", f"max-size={max_size}{age}")]


NEWEST = Dialect(None, typed=True, appended=204, age="max-age")
"""Words for a client that names no version, or an unknown one."""

_KNOWN = {
    3: Dialect(3, inverted=True),
    4: Dialect(4),
    5: Dialect(5, progress=True),
    6: Dialect(6, progress=True, typed=True, age="expires"),
    7: Dialect(7, progress=True, typed=True, appended=204, age="max-age"),
    8: Dialect(8, progress=True, typed=True, appended=204, age="max-age"),
    9: Dialect(9, progress=True, typed=True, appended=204, age="max-age"),
}


def dialect_of(get: Getter) -> Dialect:
    """Return the dialect of a request, of which `get` returns a field."""
    version = integer(get(VERSION))
    return _KNOWN.get(version, NEWEST) if version is not None else NEWEST
