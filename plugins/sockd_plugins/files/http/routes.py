"""Table of paths: which code answers a request.

The first route that fits decides. Paths that begin with "/-/" are the service's own: no name of a file begins
with a dash. A route may serve some requests of a path only, such as those of a protocol that has a header of
its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from sockd_plugins.files.http.refusals import problem
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.site import Site

Handle = Callable[[Request, Site], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """Paths with a prefix, and the code for their methods.

    Attributes:
        prefix: of the path; a whole path if it does not end in "/".
        methods: code by method; GET answers HEAD too. OPTIONS is answered with the methods if it is missing.
        serves: tells whether a request is for this route; None for all.
        abilities: return the header fields with which an answer to OPTIONS tells more than the methods.
    """

    prefix: str
    methods: Mapping[str, Handle]
    serves: Callable[[Request], bool] | None = None
    abilities: Callable[[Site], list[tuple[str, str]]] | None = None

    def fits(self, request: Request) -> bool:
        """Tell whether a request is for this route, whatever its method is."""
        path = request.path
        fits = path.startswith(self.prefix) if self.prefix.endswith("/") else path == self.prefix
        return fits and (self.serves is None or self.serves(request))


async def answer(routes: Sequence[Route], request: Request, site: Site) -> Answer:
    """Return the answer of the first route that fits and has the method."""
    allowed: dict[str, None] = {}
    for route in routes:
        if not (route.fits(request) or request.path == "*"):
            continue
        handle = route.methods.get(request.method)
        if handle is None and request.method == "HEAD":
            handle = route.methods.get("GET")
        if handle is not None and request.path != "*":
            return await handle(request, site)
        allowed |= dict.fromkeys(route.methods)
    if not allowed:
        return problem(request, 404, "there is no such path")
    if "GET" in allowed:
        allowed["HEAD"] = None
    allow = [("Allow", ", ".join((*allowed, "OPTIONS")))]
    if request.method == "OPTIONS":
        abilities = [field for route in routes if route.abilities for field in route.abilities(site)]
        return Answer(204, [*allow, *abilities])
    return problem(request, 405, f"expected one of {', '.join(allowed)}", headers=allow)
