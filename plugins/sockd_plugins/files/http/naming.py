"""Names of files that are sent to the address of a folder: as the client says, or from the time."""

from __future__ import annotations

from sockd_plugins.files.http.paths import file_name
from sockd_plugins.files.http.request import Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.storage.names import timed_name
from sockd_plugins.files.storage.refused import FileRefused


def name_in_folder(request: Request, name: str | None, site: Site) -> str:
    """Return the name of a file that is sent to the address of a folder.

    Args:
        request: to that address.
        name: that the client gives it; None for one by the time.
        site: of the request.

    Raises:
        FileRefused: it is not accepted.
    """
    if request.path.strip("/") and not site.engine.store.limits.folders:
        text = f"this service has no folders: expected files to be sent to '/', found {request.path!r}"
        raise FileRefused("bad-name", text)
    return file_name(request, name or timed_name())
