"""Every service's second port: /healthz for the kubelet, /readyz for the load balancer, /metrics for Prometheus.

It opens before anything that may have to be waited for.
"""

import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

import orjson
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from metering_common.service.clock import Clock
from metering_common.service.metrics import AdminMetrics
from metering_common.service.retry import RefusedError, RetryPolicy

Check = Callable[[], str | None]
"""Why the service cannot serve, or None when it can; called on every question, so it must be quick."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class AdminServer:
    """Serves while its context is open. Not ready until `ready` is set, and only while every check is content."""

    def __init__(self, host: str, port: int, collectors: CollectorRegistry, clock: Clock) -> None:
        self._host, self._port = host, port
        self._collectors = collectors
        self._clock = clock
        self._checks: dict[str, Check] = {}
        self._ready = False
        self._since = clock.monotonic()
        self._runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1)
        AdminMetrics(collectors, lambda: not self.reasons())

    @property
    def ready(self) -> bool:
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        """The last thing set true at start and the first thing set false at the end."""
        self._ready = ready
        self._since = self._clock.monotonic()

    @property
    def port(self) -> int:
        """The port it listens on, also where 0 was asked for."""
        return int(self._runner.addresses[0][1])

    def add_check(self, name: str, check: Check) -> None:
        """Asked by /readyz under this name."""
        self._checks[name] = check

    def start_retry(self, name: str, *, needed: bool = True) -> RetryPolicy:
        """Of a start that waits for `name` without end. Meanwhile /readyz says what is wrong with it.

        What is not `needed` to serve may be away; that it refuses us, or was not asked yet, counts all the same, so
        that a new release with a wrong password does not take the place of one that works.
        """
        if not needed:
            self._checks[name] = lambda: "not asked yet"
        return RetryPolicy(math.inf, _StartWait(self._checks, name, needed=needed).tell)

    def reasons(self) -> dict[str, str]:
        """Why the service is not ready, per check; empty when it is."""
        reasons = {name: reason for name, check in self._checks.items() if (reason := check()) is not None}
        return reasons if self._ready else {"service": "starting or stopping", **reasons}

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        return application

    async def _healthz(self, _request: web.Request) -> web.Response:
        """That it answers says that the loop turns."""
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        reasons = self.reasons()
        body = {
            "ready": not reasons,
            "reasons": reasons,
            "changedSecondsAgo": round(self._clock.monotonic() - self._since, 1),
        }
        return web.Response(body=orjson.dumps(body), content_type="application/json", status=503 if reasons else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._collectors), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _StartWait:
    """What a start waits for, among the checks of /readyz; the log has a line when that changes, not per attempt."""

    def __init__(self, checks: dict[str, Check], name: str, *, needed: bool) -> None:
        self._checks, self._name, self._needed = checks, name, needed
        self._kind: type[Exception] | None = None

    def tell(self, error: Exception | None) -> None:
        self._checks.pop(self._name, None)
        if error is not None:
            reason = f"{error}" or type(error).__name__
            if self._needed or isinstance(error, RefusedError):
                self._checks[self._name] = lambda: reason
            if type(error) is not self._kind:
                log.warning("start.waiting", waiting_for=self._name, reason=reason)
        elif self._kind is not None:
            log.info("start.goes_on", waited_for=self._name)
        self._kind = None if error is None else type(error)
