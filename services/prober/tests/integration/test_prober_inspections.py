"""What the prober reads from the storage database, with the read-only role, on the writer's own schema."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from metering_common.contract.batch_id import new_batch_id
from metering_common.postgres.pool import TimedPool
from metering_common.service.clock import ManualClock, SystemClock
from metering_local.testing import FreshDatabase
from metering_prober.adapters.certificates import Server, expiry, servers
from metering_prober.adapters.inspections import Inspections
from metering_prober.adapters.readback import SqlReadback
from metering_prober.domain.series import Stored
from metering_prober.metrics import InspectionMetrics

MakeCertificate = Callable[[datetime], tuple[ssl.SSLContext, Path]]
NOW_MS = SystemClock().now_ms()
MINUTE_MS = 60_000


class House:
    def __init__(self, reader: TimedPool, storage: FreshDatabase) -> None:
        self.registry, self.storage = CollectorRegistry(), storage
        metrics = InspectionMetrics(self.registry)
        self.inspections = Inspections(reader, metrics, ManualClock(NOW_MS), timedelta(hours=6), {})

    def record(self, offset: int, minutes_ago: float, *, batch: UUID | None = None, **columns: object) -> None:
        """A ledger row as the writer makes it, of 10 values."""
        at_ms = NOW_MS - round(minutes_ago * MINUTE_MS)
        row: dict[str, object] = {
            "batch_id": batch or new_batch_id(at_ms), "received_at": datetime.fromtimestamp(at_ms / 1_000, UTC),
            "raw_topic": "measurements.raw.v1", "raw_partition": 0, "raw_offset": offset, "device_id": 29,
            "provider_id": 1, "gateway_id": 2, "measures": 1, "values": 10, "accepted": 10, "refused": 0,
            "not_taken": 0, "repeated": 0,
            "written": 10, "corrected": 0, "present": 0, "superseded": 0, "refusals_beyond": 0, "item": 0,
            "items": 1, "clock_doubtful": False, "source": "http", "status": "validated", "registry_epoch": "e",
            "registry_position": 0, "rev": 0, **columns,
        }  # fmt: skip
        names = ", ".join(f'"{name}"' for name in row)
        self.storage.sql(f"INSERT INTO ingest_batch ({names}) VALUES ({', '.join(map(literal, row.values()))})")

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"metering_prober_{name}", labels)

    def device(self, number: int, *, interval: int | None = 60) -> None:
        every = "NULL" if interval is None else interval
        self.storage.sql(
            "INSERT INTO device (id, provider_id, number, zone, interval_seconds, sensors, active)"
            f" VALUES ({number}, 1, '{number}', 'UTC', {every}, '{{}}', true)"
        )


def literal(value: object) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"


@pytest.fixture
def house(reader: TimedPool, storage: FreshDatabase) -> House:
    return House(reader, storage)


async def test_an_account_that_closes_has_no_record_without_a_row(house: House) -> None:
    for offset in range(5):
        house.record(offset, 100 - offset)
    house.record(9, 2)  # the records before it may still be under way
    await house.inspections.inspect()
    assert house.metric("unaccounted_records") == 0


async def test_a_raw_record_that_others_have_overtaken_is_unaccounted(house: House) -> None:
    for offset in (0, 1, 4, 5):
        house.record(offset, 100 - offset)
    house.record(70, 60, raw_partition=1)
    house.record(72, 59, raw_partition=1)
    await house.inspections.inspect()
    assert house.metric("unaccounted_records") == 3


async def test_replays_and_records_with_stand_in_ids_are_accounted_for(house: House) -> None:
    """A replay keeps its first reception, months ago; a record without headers has an id without time."""
    house.record(0, 100)
    house.record(1, 60 * 24 * 40, batch=new_batch_id(NOW_MS - 99 * MINUTE_MS), source="replay")
    house.record(2, 98, batch=UUID(int=2 | 8 << 76), status="dead", values=0, accepted=0, written=0)
    house.record(3, 97)
    await house.inspections.inspect()
    assert house.metric("unaccounted_records") == 0


async def test_refusals_are_a_share_per_provider_of_the_last_hour(house: House) -> None:
    house.record(0, 30, refused=4, accepted=6, written=6)
    house.record(1, 29)
    house.record(2, 29, provider_id=7)
    house.record(3, 90, provider_id=8, refused=10, accepted=0, written=0)
    await house.inspections.inspect()
    assert house.metric("provider_refused_ratio", provider="1") == 0.2
    assert house.metric("provider_values", provider="1") == 20
    assert house.metric("provider_refused_ratio", provider="7") == 0
    assert house.metric("provider_refused_ratio", provider="8") is None


async def test_silence_of_gateways_and_devices(house: House) -> None:
    for number in (29, 30, 31):
        house.device(number)
    house.device(32, interval=None)
    house.record(0, 1)
    house.record(1, 60 * 10, device_id=30, gateway_id=3)
    await house.inspections.inspect()
    shown = {
        (what, state): house.metric(what, state=state)
        for what in ("gateways", "devices")
        for state in ("sending", "silent")
    }
    assert shown == {
        ("gateways", "sending"): 1, ("gateways", "silent"): 1, ("devices", "sending"): 1, ("devices", "silent"): 2,
    }  # fmt: skip


async def test_sizes_are_shown_and_nothing_fails(house: House) -> None:
    await house.inspections.inspect()
    assert (house.metric("database_bytes") or 0) > 1_000_000
    assert house.metric("relation_bytes", relation="measurement") is not None
    failures = {sample.value for family in house.registry.collect() if family.name.endswith("inspection_failures")
                for sample in family.samples if sample.name.endswith("_total")}  # fmt: skip
    assert failures == {0}


async def test_an_inspection_that_fails_is_counted_and_the_others_go_on(house: House) -> None:
    house.storage.sql("ALTER TABLE ingest_batch RENAME TO elsewhere")
    await house.inspections.inspect()
    assert house.metric("inspection_failures_total", inspection="accounts") == 1
    assert house.metric("inspection_failures_total", inspection="jobs") == 0


async def test_the_series_is_read_back_by_device_sensor_and_instant(reader: TimedPool, storage: FreshDatabase) -> None:
    storage.sql(
        "INSERT INTO sensor (id, position, name, unit, kind) VALUES (7, 0, 'Corriente A', 'A', 'instantaneous')"
    )
    storage.sql("INSERT INTO measurement VALUES (to_timestamp(1795000020), 1.5, 1, 29, 7, 0)")
    readback = SqlReadback(reader, lambda: 29, "Corriente A")
    assert await readback.has(1_795_000_020)
    assert not await readback.has(1_795_000_050)
    assert await readback.since(1_795_000_000) == {1_795_000_020: Stored(1.5, 0)}
    assert not await SqlReadback(reader, lambda: None, "Corriente A").has(1_795_000_020)


async def test_a_certificates_end_is_seen_also_when_it_has_passed(certificate: MakeCertificate) -> None:
    ends = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    context, _ = certificate(ends)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        host, port = server.sockets[0].getsockname()
        assert await expiry(Server(host, port)) == ends


async def test_a_database_without_tls_has_no_certificate(storage: FreshDatabase) -> None:
    watched = servers("http://ingest_api", storage.owner_dsn.get_secret_value(), ("127.0.0.1:9093",))
    assert set(watched) == {"database", "127.0.0.1:9093"}
    assert await expiry(watched["database"]) is None
