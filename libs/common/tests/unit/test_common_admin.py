"""The second port: /readyz is 200 only when the service says so and every check agrees."""

from importlib.metadata import version

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from metering_common.service import telemetry
from metering_common.service.admin_server import AdminServer
from metering_common.service.clock import ManualClock

pytestmark = pytest.mark.fast


async def get(server: AdminServer, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_health_is_that_the_loop_turns() -> None:
    async with AdminServer("127.0.0.1", 0, CollectorRegistry(), ManualClock(0)) as server:
        assert await get(server, "/healthz") == (200, "ok\n")


async def test_readiness_needs_the_service_and_every_check() -> None:
    clock, why = ManualClock(0), dict[str, str | None](kafka="away")
    async with AdminServer("127.0.0.1", 0, CollectorRegistry(), clock) as server:
        server.add_check("kafka", lambda: why["kafka"])
        assert server.reasons() == {"service": "starting or stopping", "kafka": "away"}
        server.ready = True
        clock.advance(2)
        status, body = await get(server, "/readyz")
        assert status == 503
        assert body == '{"ready":false,"reasons":{"kafka":"away"},"changedSecondsAgo":2.0}'
        why["kafka"] = None
        assert await get(server, "/readyz") == (200, '{"ready":true,"reasons":{},"changedSecondsAgo":2.0}')
        server.ready = False
        assert (await get(server, "/readyz"))[0] == 503


async def test_metrics_are_the_registrys_and_say_readiness() -> None:
    collectors = CollectorRegistry()
    Counter("things", "Things.", registry=collectors).inc()
    async with AdminServer("127.0.0.1", 0, collectors, ManualClock(0)) as server:
        status, text = await get(server, "/metrics")
        assert status == 200
        assert "things_total 1.0" in text
        assert "metering_ready 0.0" in text
        server.ready = True
        assert "metering_ready 1.0" in (await get(server, "/metrics"))[1]


async def test_a_port_in_use_is_an_error_that_names_it() -> None:
    async with AdminServer("127.0.0.1", 0, CollectorRegistry(), ManualClock(0)) as server:
        with pytest.raises(OSError, match=str(server.port)):
            await AdminServer("127.0.0.1", server.port, CollectorRegistry(), ManualClock(0)).__aenter__()


async def test_what_runs_and_how_late_the_loop_is_are_metrics() -> None:
    collectors = telemetry.new_collectors("writer", "metering-common")
    async with telemetry.loop_lag(collectors, ManualClock(0), every_seconds=0.001):
        assert collectors.get_sample_value("metering_event_loop_lag_seconds") == 0
    labels = {"component": "writer", "version": version("metering-common")}
    assert collectors.get_sample_value("metering_build_info", labels) == 1
    assert collectors.get_sample_value("process_resident_memory_bytes") is not None
