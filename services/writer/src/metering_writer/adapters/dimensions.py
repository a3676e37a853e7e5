"""Keeps `provider`, `gateway`, `sensor` and `device` as the registry has them: one writer does, by a lease."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec
import structlog

from metering_common.postgres.lease import Lease, LeaseLostError
from metering_common.postgres.pool import TimedPool
from metering_common.registry.documents import Device, Gateway, Provider, RegistryDocument, Sensor
from metering_common.registry.replica import RegistryReplica
from metering_common.service.cancellation import is_asked_to_end
from metering_common.service.clock import Clock
from metering_common.service.settings import KafkaSettings
from metering_writer.adapters.session import Session
from metering_writer.metrics import WriterMetrics
from metering_writer.queries import sql

LEASE = "dimensions"
CHANGES_WAIT_SECONDS = 0.2  # changes that come together are written together
RETENTION_SECONDS = 3_600.0
DOCUMENTS_AT_ONCE = 10_000  # in one transaction, far less than a lease lasts
UNKNOWN_ZONE = "UTC"

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class DimensionKeeper:
    """Runs for ever beside the writing; whatever goes wrong is logged and tried again."""

    def __init__(
        self,
        pool: TimedPool,
        kafka: KafkaSettings,
        clock: Clock,
        metrics: WriterMetrics,
        *,
        holder: UUID,
        lease_seconds: float,
    ) -> None:
        self._pool, self._kafka, self._clock, self._metrics = pool, kafka, clock, metrics
        self._lease_seconds = lease_seconds
        self._lease = Lease(
            pool,
            LEASE,
            seconds=lease_seconds,
            renew_seconds=lease_seconds / 3,
            monotonic=clock.monotonic,
            holder=holder,
        )

    async def run(self) -> None:
        while True:
            try:
                if await self._take():
                    await self._keep()
            except LeaseLostError:
                log.info("dimensions.lease_lost")
            except (Exception, asyncio.CancelledError) as error:  # nothing may end it; what it was is logged
                if is_asked_to_end(error):
                    raise
                self._metrics.dimension_failures.inc()
                log.warning("dimensions.failed", error=repr(error))
            self._metrics.dimensions_kept.set(0)
            await asyncio.sleep(self._lease_seconds / 3)

    async def give_back(self) -> None:
        """So that another writer takes over at once."""
        await self._lease.give_back()

    async def _take(self) -> bool:
        return await self._lease.take()

    async def _keep(self) -> None:
        """Holds the lease: everything once, with what is absent marked, then each change."""
        changed: dict[str, RegistryDocument | None] = {}
        async with RegistryReplica.open(self._kafka, self._clock, changed.__setitem__) as replica:
            while not replica.ready:
                await self._lease.keep()
                await asyncio.sleep(min(CHANGES_WAIT_SECONDS, self._lease_seconds / 3))
            zones = await self._zones()
            changed.clear()
            await self._write_everything(list(replica.registry.documents()), zones)
            log.info("dimensions.kept", devices=len(replica.registry.devices))
            self._metrics.dimensions_kept.set(1)
            await self._follow(changed, zones)

    async def _follow(self, changed: dict[str, RegistryDocument | None], zones: frozenset[str]) -> None:
        """What changes costs what has changed, however large the registry is."""
        expire_at = self._clock.monotonic()
        while True:
            await self._lease.keep()
            if self._clock.monotonic() >= expire_at:
                await self._apply_retention()
                expire_at = self._clock.monotonic() + RETENTION_SECONDS
            if changed:
                latest = dict(changed)
                changed.clear()
                put = [document for document in latest.values() if document is not None]
                removed = [key for key, document in latest.items() if document is None]
                await self._write(_Documents.of(put, zones), removed)
            await asyncio.sleep(min(CHANGES_WAIT_SECONDS, self._lease_seconds / 3))

    async def _zones(self) -> frozenset[str]:
        async with self._pool.acquire() as session:
            return frozenset(row["name"] for row in await session.fetch(sql.zones))

    async def _apply_retention(self) -> None:
        """A deletion that takes too long comes again in an hour; the tables follow the registry meanwhile."""
        try:
            async with self._pool.acquire() as session:
                await session.execute(sql.apply_retention)
        except Exception as error:  # noqa: BLE001  as in `run`
            self._metrics.retention_failures.inc()
            log.warning("retention.failed", error=repr(error))

    async def _write_everything(self, documents: list[RegistryDocument], zones: frozenset[str]) -> None:
        """Some at a time, the lease renewed between; then what the registry does not have is marked."""
        for start in range(0, len(documents), DOCUMENTS_AT_ONCE):
            await self._write(_Documents.of(documents[start : start + DOCUMENTS_AT_ONCE], zones), ())
            await self._lease.keep()
        async with self._pool.acquire() as session, session.transaction():
            await self._lease.hold(session)
            await _Documents.of(documents, zones).mark_absent(session)

    async def _write(self, documents: "_Documents", removed: Sequence[str]) -> None:
        """`removed` are the record keys of documents that are no more."""
        async with self._pool.acquire() as session, session.transaction():
            await self._lease.hold(session)
            await documents.upsert(session)
            await _mark_removed(session, removed)


class _Documents:
    """Registry documents by kind, as the tables' columns."""

    def __init__(
        self,
        providers: list[Provider],
        gateways: list[Gateway],
        sensors: list[Sensor],
        devices: list[Device],
        zones: frozenset[str],
    ) -> None:
        self._providers, self._gateways, self._sensors, self._devices = providers, gateways, sensors, devices
        self._zones = zones

    @classmethod
    def of(cls, documents: Sequence[RegistryDocument], zones: frozenset[str]) -> "_Documents":
        return cls(
            [one for one in documents if isinstance(one, Provider)],
            [one for one in documents if isinstance(one, Gateway)],
            [one for one in documents if isinstance(one, Sensor)],
            [one for one in documents if isinstance(one, Device)],
            zones,
        )

    async def upsert(self, session: Session) -> None:
        await session.execute(sql.upsert_providers, *_columns(self._providers, "id", "name", "active"))
        await session.execute(sql.upsert_gateways, *_columns(self._gateways, "id", "provider", "name", "active"))
        await session.execute(
            sql.upsert_sensors,
            *_columns(self._sensors, "id", "position", "name", "alias", "unit", "kind"),
            *_columns(self._sensors, "minimum", "maximum"),
            [msgspec.json.encode(sensor.faults).decode() for sensor in self._sensors],
            *_columns(self._sensors, "capacity", "resolution", "interval_seconds", "maximum_rate"),
        )
        await session.executemany(sql.upsert_device, [self._device_row(device) for device in self._devices])
        await self._keep_register_terms(session)

    async def _keep_register_terms(self, session: Session) -> None:
        ids = [device.id for device in self._devices]
        rates = [
            (device.id, sensor, rate)
            for device in self._devices
            for sensor, rate in (device.maximum_rates or {}).items()
        ]
        exchanges = [
            (device.id, each.sensor, each.at, each.closing, each.opening)
            for device in self._devices
            for each in device.exchanges
        ]
        await session.execute(sql.keep_maximum_rates, ids, *_transposed(rates, 3))
        await session.execute(sql.keep_exchanges, ids, *_transposed(exchanges, 5))

    async def mark_absent(self, session: Session) -> None:
        await session.execute(sql.mark_deleted_providers, *_columns(self._providers, "id"))
        await session.execute(sql.mark_deleted_gateways, *_columns(self._gateways, "id"))
        await session.execute(sql.mark_deleted_sensors, *_columns(self._sensors, "id"))
        await session.execute(sql.mark_deleted_devices, *_columns(self._devices, "id"))

    def _device_row(self, device: Device) -> tuple[object, ...]:
        """A zone that the server does not know would break every query on days: that one device is shown in UTC."""
        zone = device.zone
        if zone not in self._zones:
            log.error("dimensions.unknown_zone", device=device.id, zone=zone)
            zone = UNKNOWN_ZONE
        return (
            device.id, device.provider, device.number, zone, device.interval_seconds, list(device.sensors),
            device.active,
        )  # fmt: skip


_REMOVALS = {
    "provider": sql.mark_removed_providers,
    "gateway": sql.mark_removed_gateways,
    "sensor": sql.mark_removed_sensors,
    "device": sql.mark_removed_devices,
}


async def _mark_removed(session: Session, keys: Sequence[str]) -> None:
    for kind, query in _REMOVALS.items():
        ids = [int(key.removeprefix(f"{kind}:")) for key in keys if key.startswith(f"{kind}:")]
        if ids:
            await session.execute(query, ids)


def _columns(documents: Sequence[RegistryDocument], *names: str) -> list[list[object]]:
    return [[getattr(document, name) for document in documents] for name in names]


def _transposed(rows: Sequence[Sequence[object]], columns: int) -> list[list[object]]:
    return [[row[place] for row in rows] for place in range(columns)]
