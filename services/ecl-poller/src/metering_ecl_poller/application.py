"""One poll of one controller: ask, keep every answer, map, hand over, and only then remember how far it came."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from metering_common.registry.documents import Device
from metering_common.service.clock import Clock
from metering_common.service.tracing import trace_id
from metering_ecl_poller.domain import gaps, window
from metering_ecl_poller.domain.clock_check import ZONE_TOLERANCE_MS, ClockFinding, ClockState, check_clock
from metering_ecl_poller.domain.elements import Element, to_elements
from metering_ecl_poller.domain.job import Job, Noted, Progress
from metering_ecl_poller.domain.mapping import WiredDevice, wire
from metering_ecl_poller.metrics import PollerMetrics
from metering_ecl_poller.portal.client import PageWanted, PortalClient
from metering_ecl_poller.portal.dialect import Dialect
from metering_ecl_poller.portal.errors import AnswerUnreadableError, PortalRefusedError
from metering_ecl_poller.portal.models import DeviceType, MasterData, PortalDevice, Sample
from metering_ecl_poller.portal.paging import Reading, Wanted, read_forward

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Book(Protocol):
    """What is remembered between polls. Raises `LeaseLostError` when the controller is someone else's by now."""

    async def note_master(self, job: Job, master: MasterData, now_ms: int) -> list[str]: ...
    async def note_clock(self, job: Job, state: str, offset_ms: int) -> None: ...
    async def note_problem(self, job: Job, device: str, problem: str) -> None: ...
    async def advance(self, job: Job, progress: Progress, now_ms: int) -> Noted: ...


class Outlet(Protocol):
    """Where measures go. What it returns from is acknowledged by all in-sync replicas."""

    async def find_device(self, provider: int, number: str) -> Device | None: ...
    async def hand_over(
        self, device: Device, elements: Sequence[Element], mapping_version: int, traceparent: str | None = None
    ) -> list[str]: ...


class Polling:
    """`client_for` makes a client whose every answer is kept on `ecl.answers.v1` before it is read."""

    def __init__(
        self,
        book: Book,
        outlet: Outlet,
        client_for: Callable[[Job], PortalClient],
        surroundings: tuple[Dialect, Clock, PollerMetrics],
    ) -> None:
        self._book, self._outlet, self._client_for = book, outlet, client_for
        self._dialect, self._clock, self._metrics = surroundings
        self._rhythm = rhythm_of(self._dialect)

    async def poll(self, job: Job) -> None:
        """Raises `PortalError`, what the outlet raises, or `LeaseLostError`; what was handed over stays handed over.

        A device whose readings are refused or cannot be read does not keep the others from being asked.
        """
        visit, master = await self._begin(job)
        for device in wanted_devices(master, job):
            try:
                await self._poll_device(visit, device)
            except (PortalRefusedError, AnswerUnreadableError) as error:
                visit.errors.append(error)
                await self._book.note_problem(job, device.id, str(error))
        await self._note_clock(visit)
        if visit.errors:
            raise visit.errors[0]

    async def backfill(self, job: Job, from_ms: int, until_ms: int) -> int:
        """Everything the portal has between two moments, sent again; cursors stay. Gives the number of samples."""
        visit, master = await self._begin(job)
        visit.moves_cursors = False
        sent = 0
        for device in in_order(master.devices):
            start: int | None = from_ms
            while start is not None:
                wanted = Wanted(device.id, start, until_ms)
                reading = await read_forward(visit.client, job.account, wanted, self._dialect.request)
                settled = window.settled(reading.samples, complete=reading.complete)
                samples = tuple(sample for sample in settled if sample.timestamp_ms <= until_ms)
                await self._take(visit, device, _Read(start, samples, reading.unreadable))
                sent += len(samples)
                start = samples[-1].timestamp_ms if samples and not reading.complete else None
        return sent

    async def _begin(self, job: Job) -> tuple["_Visit", MasterData]:
        client = self._client_for(job)
        master = await client.master_data(job.account)
        for device in await self._book.note_master(job, master, self._clock.now_ms()):
            log.warning("device.gone", controller=job.serial, device=device)
        return _Visit(job, client), master

    async def _poll_device(self, visit: "_Visit", device: PortalDevice) -> None:
        """Round by round while the page cap cuts reads off."""
        while True:
            start, reading = await self._read(visit, device)
            samples = window.settled(reading.samples, complete=reading.complete)
            moved = await self._take(visit, device, _Read(start, samples, reading.unreadable))
            if reading.complete or not moved:
                return

    async def _read(self, visit: "_Visit", device: PortalDevice) -> tuple[int, Reading]:
        """From the cursors on; and as far back as the log remembers when the clock moved, or when there is nothing new
        although the portal has read the device since.

        A clock that was set back puts new samples before the cursors, where no reading from the cursors on finds them.
        What shows nothing new in the end is not handed over once more.
        """
        now, memory = self._clock.now_ms(), self._rhythm.log_memory_ms
        cursors = visit.job.cursors.get(device.id, {})
        start = window.from_ms(cursors, now, memory)
        reading = await self._forward(visit, device, start)
        missing = not window.any_new(reading.samples, cursors) and window.read_since(device.last_read_ms, cursors)
        if cursors and (missing or self._clock_moved(visit.job, device, reading)):
            start = window.far_from_ms(cursors, now, memory)
            reading = await self._forward(visit, device, start)
        if missing and not reading.samples and (newest := await self._newest(visit, device)) is not None:
            start = newest - memory
            reading = await self._forward(visit, device, start)
        if not window.any_new(reading.samples, cursors):
            reading = msgspec.structs.replace(reading, samples=())
        return start, reading

    async def _newest(self, visit: "_Visit", device: PortalDevice) -> int | None:
        """The highest time stamp up to now: a clock that is years behind has no sample where we looked."""
        names = self._dialect.request
        wanted = PageWanted(
            device.id, self._clock.now_ms(), names.first_page, visit.client.new_request_id(), backward=True, size=1
        )
        page = await visit.client.readings_page(visit.job.account, wanted)
        return max((sample.timestamp_ms for sample in page.samples), default=None)

    async def _forward(self, visit: "_Visit", device: PortalDevice, start: int) -> Reading:
        wanted = Wanted(device.id, start)
        return await read_forward(visit.client, visit.job.account, wanted, self._dialect.request)

    def _validate_clock(self, device: PortalDevice, samples: Sequence[Sample]) -> ClockFinding | None:
        """A log that is no longer active ended in the middle of an hour: its last sample may be an hour old."""
        return check_clock(samples, self._clock.now_ms(), self._rhythm.longest_lag_ms(active=device.active))

    def _clock_moved(self, job: Job, device: PortalDevice, reading: Reading) -> bool:
        finding = self._validate_clock(device, reading.samples)
        if finding is None or job.clock_offset_ms is None:
            return False
        return abs(finding.offset_ms - job.clock_offset_ms) > ZONE_TOLERANCE_MS

    async def _take(self, visit: "_Visit", device: PortalDevice, read: "_Read") -> dict[str, window.Cursor]:
        """Map, hand over, and after the acknowledgement write down; gives the cursors that moved."""
        job, samples = visit.job, read.samples
        finding = self._validate_clock(device, samples)
        wired, target, problem = await self._plan(job, device)
        held = frozenset(wired.held)
        if target is not None and samples:
            doubtful = finding.doubtful if finding else frozenset()
            elements = to_elements(target.number, samples, wired.wires, doubtful)
            batches = await self._outlet.hand_over(target, elements, job.mapping_version, job.traceparent)
            self._tell(job, device, elements, batches)
        cursors = job.cursors.setdefault(device.id, {})
        moved = window.advanced(samples, cursors, held) if visit.moves_cursors else {}
        progress = Progress(
            device=device.id,
            cursors=moved,
            gaps=gaps.find_gaps(samples, device.type, frozenset(visit.contacts), self._rhythm),
            window=(read.start, samples[-1].timestamp_ms) if samples else None,
            problem=problem or _unreadable(read) or _withheld(read, device, cursors),
        )
        self._count(job, device, progress, await self._book.advance(job, progress, self._clock.now_ms()), read)
        visit.saw(samples, finding)
        cursors.update(moved)
        return moved

    async def _plan(self, job: Job, device: PortalDevice) -> tuple[WiredDevice, Device | None, str | None]:
        """Which channels go where, to which device, and what keeps the others waiting."""
        mapped = job.mapping.device(device.id) if job.mapping else None
        if mapped is None:
            return WiredDevice({}, {}), None, None
        wired = wire(mapped, device)
        target = await self._outlet.find_device(mapped.provider, mapped.device_number)
        if target is None:
            why = f"device {mapped.device_number} of provider {mapped.provider} is not registered"
            return WiredDevice({}, dict.fromkeys([*wired.wires, *wired.held], why)), None, why
        held = "; ".join(f"channel {channel}: {why}" for channel, why in wired.held.items())
        return wired, target, held or None

    def _tell(self, job: Job, device: PortalDevice, elements: Sequence[Element], batches: Sequence[str]) -> None:
        """The step of the tour that `make follow` prints."""
        values = sum(element.values for element in elements)
        self._metrics.records.inc(len(elements))
        log.info(
            "samples.handed_over",
            controller=job.serial,
            device=device.id,
            batch_ids=batches,
            trace_id=trace_id(job.traceparent),
            records=len(elements),
            values=values,
        )

    def _count(self, job: Job, device: PortalDevice, progress: Progress, noted: Noted, read: "_Read") -> None:
        self._metrics.samples.inc(len(read.samples))
        self._metrics.unreadable.inc(len(read.unreadable))
        for reason in noted.gaps:
            self._metrics.gaps.labels(reason).inc()
        if noted.gaps:
            log.warning(
                "gap.recorded",
                controller=job.serial,
                device=device.id,
                gaps=len(noted.gaps),
                reasons=sorted(set(noted.gaps)),
            )
        if progress.problem is not None and noted.problem_is_new:
            log.warning("device.problem", controller=job.serial, device=device.id, problem=progress.problem)

    async def _note_clock(self, visit: "_Visit") -> None:
        """A line when the state changes, a count every time."""
        finding, job = visit.clock, visit.job
        if finding is None:
            return
        if finding.state is not ClockState.RIGHT:
            self._metrics.clock_doubtful.labels(finding.state).inc()
        if finding.state != (job.clock_state or ClockState.RIGHT):
            minutes = round(finding.offset_ms / 60_000)
            log.warning("clock.changed", controller=job.serial, state=finding.state, behind_minutes=minutes)
        await self._book.note_clock(job, finding.state, finding.offset_ms)


class _Read:
    """What one look brought: from when it was asked for, what came, what could not be read."""

    def __init__(self, start: int, samples: tuple[Sample, ...], unreadable: tuple[str, ...]) -> None:
        self.start, self.samples, self.unreadable = start, samples, unreadable


class _Visit:
    """What one poll of a controller learns on its way from device to device."""

    def __init__(self, job: Job, client: PortalClient) -> None:
        self.job, self.client = job, client
        self.contacts: set[int] = set()
        """When the portal reached the controller, as the devices read so far show."""
        self.clock: ClockFinding | None = None
        self.errors: list[Exception] = []
        self.moves_cursors = True

    def saw(self, samples: Sequence[Sample], finding: ClockFinding | None) -> None:
        """One device with doubtful time stamps is enough to doubt the controller's clock."""
        self.contacts |= {sample.received_ms for sample in samples}
        if finding is not None and (self.clock is None or self.clock.state is ClockState.RIGHT):
            self.clock = finding


def rhythm_of(dialect: Dialect) -> gaps.Rhythm:
    times = dialect.rhythm
    return gaps.Rhythm(times.log_interval * 1_000, times.collection_interval * 1_000, times.log_memory * 1_000)


def in_order(devices: Sequence[PortalDevice]) -> list[PortalDevice]:
    """The log first: it tells when the portal reached the controller, which explains the others' holes."""
    return sorted(devices, key=lambda device: device.type is not DeviceType.LOG)


def wanted_devices(master: MasterData, job: Job) -> list[PortalDevice]:
    """All that are active, and what is no longer but was read since its last sample that we have."""

    def wanted(device: PortalDevice) -> bool:
        return device.active or window.read_since(device.last_read_ms, job.cursors.get(device.id, {}))

    return [device for device in in_order(master.devices) if wanted(device)]


def _unreadable(read: _Read) -> str | None:
    return f"{len(read.unreadable)} samples cannot be read: {read.unreadable[0]}" if read.unreadable else None


def _withheld(read: _Read, device: PortalDevice, cursors: window.Cursors) -> str | None:
    """A wrong dialect may look like a device without data; the portal's own last reading tells them apart."""
    if read.samples or device.last_read_ms is None or not window.read_since(device.last_read_ms, cursors):
        return None
    return "the portal says it has read this device since, and gives no samples"
