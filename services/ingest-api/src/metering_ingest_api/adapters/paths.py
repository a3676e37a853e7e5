"""The table of paths: an exact one, or one whose last segment varies, and the handler of each method.

aiohttp's application would walk its router, a match and middlewares for each request: a quarter of what a bare one
costs.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from metering_ingest_api.adapters.answer import Answer

Answering = Callable[[web.BaseRequest, str], Awaitable[Answer]]
"""The text is what the path's last segment is, decoded, where it varies."""
ANY = "*"


class Paths:
    """`unknown` answers what is not in the table."""

    def __init__(self, unknown: Answering) -> None:
        self._exact: dict[str, dict[str, Answering]] = {}
        self._varying: dict[str, dict[str, Answering]] = {}
        self._unknown = unknown

    def add(self, template: str, methods: dict[str, Answering]) -> None:
        """`/a/{b}` stands for every path of one more segment below `/a`; `ANY` answers the methods not named."""
        parent, _, last = template.rpartition("/")
        if last.startswith("{"):
            self._varying[parent] = methods
        else:
            self._exact[template] = methods

    def answer(self, request: web.BaseRequest) -> Awaitable[Answer]:
        """For `aiohttp.web.Server`. An exact path wins; an encoded slash parts no segments."""
        path = request.rel_url.raw_path
        if (methods := self._exact.get(path)) is not None:
            return (methods.get(request.method) or methods[ANY])(request, "")
        parent, _, last = path.rpartition("/")
        if last and (methods := self._varying.get(parent)) is not None:
            return (methods.get(request.method) or methods[ANY])(request, request.rel_url.name)
        return self._unknown(request, "")
