"""Maps kept answers again after dialect or mapping was mended; the new mapping beats the earlier and nothing else."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from metering_common.registry.documents import Sensor
from metering_ecl_poller.application.device_poll import RawPublisher
from metering_ecl_poller.domain.gaps import sampling_intervals
from metering_ecl_poller.domain.mapping import ControllerMapping, MappingVersion
from metering_ecl_poller.domain.portal.answer import ArchivedAnswer
from metering_ecl_poller.domain.portal.dialect import Dialect
from metering_ecl_poller.domain.portal.models import MasterData, Sample
from metering_ecl_poller.domain.portal.reading import (
    AnswerShapeError,
    parse_json,
    read_master_data,
    read_readings,
    status_of,
)
from metering_ecl_poller.domain.remapping import (
    DeviceRead,
    RemappedDevice,
    SensorTarget,
    WrittenKeys,
    contested_targets,
    device_of,
    fault_marks,
    joined,
    note_keys,
    rewrite,
)
from metering_ecl_poller.domain.trust import TrustedSpan

HTTP_OK = 200
MASTER_DATA_BEFORE_MS = 2 * 3_600_000
"""How long before the wanted time reading begins: each poll asks for master data first, and they hold the units."""


class History(Protocol):
    """The mappings of a controller, oldest first, and a note that the newest was applied to a time again."""

    async def mappings(self, serial: str) -> list[MappingVersion]: ...
    async def trusted_spans(self, serial: str) -> dict[str, tuple[TrustedSpan, ...]]: ...
    async def note_remapped(self, serial: str, version: int, from_ms: int, to_ms: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class RemapOrder:
    """What to map again. `only`: these controllers; empty: all. `send` False: count only. `mark`: lost keys too."""

    from_ms: int
    to_ms: int
    only: frozenset[str] = frozenset()
    send: bool = True
    mark: bool = False


@dataclass
class LostKeys:
    """Keys of one target that earlier mappings wrote and the new one does not."""

    serial: str
    target: SensorTarget
    stamps: dict[int, int]
    marked: bool = False


@dataclass
class RemapResult:
    """What came of it."""

    answers: int = 0
    records: int = 0
    values: int = 0
    unreadable: list[str] = field(default_factory=list)
    unmapped: int = 0
    """Reads of devices that the new mapping does not name, or that are not registered."""
    lost: list[LostKeys] = field(default_factory=list)


class _Controller:
    """One controller on its way through its answers."""

    def __init__(self, versions: list[MappingVersion], trusted: dict[str, tuple[TrustedSpan, ...]]) -> None:
        self.versions, self.trusted = versions, trusted
        self.master: MasterData | None = None
        self.read_id: str | None = None
        self.device_id = ""
        self.pages: list[tuple[Sample, ...]] = []
        self.written_by: set[int] = set()
        earlier = [one.mapping for one in versions[:-1]]
        self.keys = WrittenKeys(contested_targets(earlier, versions[-1].mapping) if versions else frozenset())

    def earlier(self) -> list[ControllerMapping]:
        """The mappings that may have written what is read now."""
        return [one.mapping for one in self.versions[:-1] if one.version in self.written_by]


class Remapping:
    """One run. `sensors` by name, for the fault values."""

    def __init__(
        self, history: History, publisher: RawPublisher, dialect: Dialect, sensors: dict[str, Sensor], order: RemapOrder
    ) -> None:
        self._history, self._publisher, self._dialect = history, publisher, dialect
        self._sensors, self._order = sensors, order
        self._controllers: dict[str, _Controller] = {}
        self.result = RemapResult()

    async def run(self, answers: AsyncIterator[ArchivedAnswer]) -> RemapResult:
        """Raises what the publisher raises; a repeated run does no harm."""
        async for kept in answers:
            if not self._order.only or kept.answer.serial in self._order.only:
                await self._take(kept)
        for serial, controller in self._controllers.items():
            await self._end_read(controller)
            await self._collect_lost(serial, controller)
        return self.result

    async def _take(self, kept: ArchivedAnswer) -> None:
        answer = kept.answer
        if answer.http_status != HTTP_OK or status_of(answer.body, self._dialect).code not in self._successes():
            return
        controller = await self._controller(answer.serial)
        if not controller.versions:
            return
        try:
            if answer.call == "masterData":
                controller.master = read_master_data(parse_json(answer.body), self._dialect)
            elif self._order.from_ms <= answer.received_at_ms <= self._order.to_ms:
                await self._take_page(controller, kept)
        except AnswerShapeError as error:
            what = f"{answer.serial}, {answer.call} {answer.client_request_id}: {error}"
            self.result.unreadable.append(what)

    def _successes(self) -> tuple[str | None, ...]:
        return (None, *self._dialect.status.success)

    async def _controller(self, serial: str) -> _Controller:
        """That this run happens is noted before it does anything: a broken-off one has written too."""
        if serial not in self._controllers:
            versions = await self._history.mappings(serial)
            if versions and self._order.send:
                order = self._order
                await self._history.note_remapped(serial, versions[-1].version, order.from_ms, order.to_ms)
            self._controllers[serial] = _Controller(versions, await self._history.trusted_spans(serial))
        return self._controllers[serial]

    async def _take_page(self, controller: _Controller, kept: ArchivedAnswer) -> None:
        answer = kept.answer
        if answer.read_id != controller.read_id:
            await self._end_read(controller)
        device = answer.device or ""
        page = read_readings(parse_json(answer.body), self._dialect, device, answer.received_at_ms)
        controller.read_id, controller.device_id = answer.read_id, device
        controller.pages.append(page.samples)
        controller.written_by = {kept.mapping_version} | {
            one.version
            for one in controller.versions
            if any(start <= answer.received_at_ms <= end for start, end in one.remapped)
        }
        self.result.answers += 1

    async def _end_read(self, controller: _Controller) -> None:
        pages, controller.pages = controller.pages, []
        if not pages:
            return
        read = DeviceRead(device_of(controller.master, controller.device_id), joined(pages))
        mapping = controller.versions[-1].mapping
        note_keys(controller.keys, read, controller.earlier(), mapping)
        rewritten = rewrite(
            read, mapping, sampling_intervals(self._dialect), controller.trusted.get(read.device.id, ())
        )
        if rewritten is None or not await self._send(rewritten, controller.versions[-1].version):
            self.result.unmapped += 1

    async def _send(self, rewritten: RemappedDevice, version: int) -> bool:
        """False when the platform does not know the device."""
        device = await self._publisher.find_device(rewritten.provider, rewritten.number)
        if device is None:
            return False
        if self._order.send:
            await self._publisher.publish(device, rewritten.elements, version)
        self.result.records += len(rewritten.elements)
        self.result.values += sum(element.values for element in rewritten.elements)
        return True

    async def _collect_lost(self, serial: str, controller: _Controller) -> None:
        for target, stamps in sorted(controller.keys.lost().items()):
            lost = LostKeys(serial, target, stamps)
            if self._order.mark and self._order.send:
                lost.marked = await self._mark(lost, controller.versions[-1].version)
            self.result.lost.append(lost)

    async def _mark(self, lost: LostKeys, version: int) -> bool:
        """Through the validator like everything else: the fault value of the dictionary, which it marks quality 3."""
        sensor = self._sensors.get(lost.target.sensor)
        fault = None if sensor is None else sensor.fault_value()
        if fault is None:
            return False
        elements = fault_marks(lost.target, lost.stamps, fault)
        return await self._send(RemappedDevice(lost.target.provider, lost.target.number, elements), version)
