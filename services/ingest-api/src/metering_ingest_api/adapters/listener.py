"""The public port: connections that neither dawdle nor outnumber, and an orderly end when the pod is stopped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from metering_ingest_api.adapters.drain import Drain
from metering_ingest_api.adapters.paths import Paths
from metering_ingest_api.metrics import IngestMetrics
from metering_ingest_api.settings import IngestSettings

LINGERING_SECONDS = 2.0
"""After an early refusal the rest of the body is read and dropped for so long, so that the answer is not lost."""
BACKLOG = 1_024


class _Connection(RequestHandler):
    """aiohttp's connection with a deadline for the head of a request, which aiohttp leaves to the load balancer."""

    def __init__(self, listener: "Listener", server: web.Server, **options: Any) -> None:
        super().__init__(server, **options)
        self._listener = listener
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.took(self)
        self._start_head_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiter is None or self._waiter.done():
            self._stop_head_deadline()
        elif self._head_deadline is None:
            self._start_head_deadline()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  aiohttp's signature
        """After every read of a body aiohttp asks its parser for more, also where nothing had been held back."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_deadline()
        self._listener.lost(self)
        super().connection_lost(exc)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What is no HTTP is counted: a trace per probe from the Internet says nothing and fills the log."""
        if isinstance(kw.get("exc_info"), HttpProcessingError):
            self._listener.cut("no_http")
        else:
            super().log_exception(*args, **kw)

    def _start_head_deadline(self) -> None:
        self._head_deadline = self._loop.call_later(self._listener.header_seconds, self._cut)

    def _stop_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _cut(self) -> None:
        self._listener.cut("head_too_slow")
        self.force_close()


class Listener:
    """Listens while its context is open."""

    def __init__(self, settings: IngestSettings, metrics: IngestMetrics) -> None:
        self.header_seconds = settings.header_seconds
        self._max_connections = settings.max_connections
        self._metrics = metrics
        self._held: set[_Connection] = set()
        self.port = 0
        metrics.connections.set_function(lambda: len(self._held))

    def took(self, connection: _Connection) -> None:
        self._held.add(connection)
        if len(self._held) > self._max_connections:
            self.cut("too_many")
            connection.force_close()

    def lost(self, connection: _Connection) -> None:
        self._held.discard(connection)

    def cut(self, reason: str) -> None:
        self._metrics.connections_cut.labels(reason).inc()

    @asynccontextmanager
    async def listen(self, paths: Paths, settings: IngestSettings, drain: Drain) -> AsyncIterator[None]:
        """At the end: no new connections, requests in flight are finished, then all connections are closed.

        aiohttp's own end would no longer read the bodies that are still on their way.
        """
        server = web.Server(paths.answer)  # type: ignore[arg-type]  # an Answer is all that it asks of a response
        runner = web.ServerRunner(server, shutdown_timeout=settings.drain_seconds)
        await runner.setup()
        loop = asyncio.get_running_loop()
        options = {
            "loop": loop,
            "access_log": None,
            "keepalive_timeout": settings.keepalive_seconds,
            "lingering_time": LINGERING_SECONDS,
            "auto_decompress": False,
        }
        try:
            socket = await loop.create_server(
                lambda: _Connection(self, server, **options), settings.http_host, settings.http_port, backlog=BACKLOG
            )
            self.port = socket.sockets[0].getsockname()[1]
            try:
                yield
            finally:
                drain.draining = True
                socket.close()
                await drain.until_idle(settings.drain_seconds)
        finally:
            await runner.cleanup()
