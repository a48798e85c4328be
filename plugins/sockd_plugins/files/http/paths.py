"""Names of files from the paths of requests."""

from __future__ import annotations

from sockd_plugins.files.http.request import Request
from sockd_plugins.files.storage.names import safe_path
from sockd_plugins.files.storage.refused import FileRefused


def file_name(request: Request, name: str = "") -> str:
    """Return the name of the file that a request means.

    Args:
        request: to the address of the file, or of the folder that it belongs into.
        name: of the file in that folder, as the client tells it; "" if the path has it.

    Raises:
        FileRefused: it is not accepted.
    """
    path = request.path.removeprefix("/")
    if name:
        path = f"{path.rstrip('/')}/{name}" if path else name
    elif not path or path.endswith("/"):
        raise FileRefused("bad-name", f"expected the name of a file behind {request.path!r}")
    try:
        return safe_path(path)
    except ValueError as error:
        raise FileRefused("bad-name", str(error)) from error
