"""Polls one controller: ask, archive every answer, map, publish, and only then record how far it came."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from metering_common.registry.documents import Device
from metering_common.service.clock import Clock
from metering_ecl_poller.application.observer import Observer
from metering_ecl_poller.application.reading import Portal, read_forward
from metering_ecl_poller.domain import gaps, window
from metering_ecl_poller.domain.clock_check import ZONE_TOLERANCE_MS, ClockFinding, ClockState, check_clock
from metering_ecl_poller.domain.elements import PortalElement, to_elements
from metering_ecl_poller.domain.gaps import sampling_intervals
from metering_ecl_poller.domain.job import DeviceProgress, PollJob, RecordedProgress
from metering_ecl_poller.domain.mapping import DeviceRoutes, route_channels
from metering_ecl_poller.domain.portal.answer import PageRequest
from metering_ecl_poller.domain.portal.dialect import Dialect
from metering_ecl_poller.domain.portal.errors import AnswerUnreadableError, PortalRefusedError
from metering_ecl_poller.domain.portal.models import DeviceType, MasterData, PortalDevice, Sample
from metering_ecl_poller.domain.portal.pages import DeviceReading, ReadingRequest


class PollStore(Protocol):
    """What is remembered between polls.

    Raises `ControllerLeaseLostError` when another replica holds the controller.
    """

    async def note_master(self, job: PollJob, master: MasterData, now_ms: int) -> list[str]: ...
    async def note_clock(self, job: PollJob, state: str, offset_ms: int) -> None: ...
    async def note_problem(self, job: PollJob, device: str, problem: str) -> None: ...
    async def advance(self, job: PollJob, progress: DeviceProgress, now_ms: int) -> RecordedProgress: ...


class RawPublisher(Protocol):
    """Where measures go. What it returns from is acknowledged by all in-sync replicas."""

    async def find_device(self, provider: int, number: str) -> Device | None: ...
    async def publish(
        self, device: Device, elements: Sequence[PortalElement], mapping_version: int, traceparent: str | None = None
    ) -> list[str]: ...


class _Read:
    """What one look brought: from when it was asked for, what came, what could not be read."""

    def __init__(self, start: int, samples: tuple[Sample, ...], unreadable: tuple[str, ...]) -> None:
        self.start, self.samples, self.unreadable = start, samples, unreadable


class PollSession:
    """What one poll of a controller learns on its way from device to device."""

    def __init__(self, job: PollJob, portal: Portal) -> None:
        self.job, self.portal = job, portal
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


class Polling:
    """`portal_for` returns a portal whose every answer is archived on `ecl.answers.v1` before it is read."""

    def __init__(
        self,
        store: PollStore,
        publisher: RawPublisher,
        portal_for: Callable[[PollJob], Portal],
        *,
        dialect: Dialect,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._store, self._publisher, self._portal_for = store, publisher, portal_for
        self._dialect, self._clock, self._observer = dialect, clock, observer
        self._intervals = sampling_intervals(self._dialect)

    async def poll(self, job: PollJob) -> None:
        """Raises `PortalError`, what the publisher raises, or `ControllerLeaseLostError`.

        What was published stays published.

        A device whose readings are refused or cannot be read does not keep the others from being asked.
        """
        session, master = await self._begin(job)
        for device in wanted_devices(master, job):
            try:
                await self._poll_device(session, device)
            except (PortalRefusedError, AnswerUnreadableError) as error:
                session.errors.append(error)
                await self._store.note_problem(job, device.id, str(error))
        await self._note_clock(session)
        if session.errors:
            raise session.errors[0]

    async def backfill(self, job: PollJob, from_ms: int, until_ms: int) -> int:
        """Publishes everything again that the portal has between two moments; cursors stay.

        Returns the number of samples.
        """
        session, master = await self._begin(job)
        session.moves_cursors = False
        sent = 0
        for device in in_order(master.devices):
            start: int | None = from_ms
            while start is not None:
                wanted = ReadingRequest(device.id, start, until_ms)
                reading = await read_forward(session.portal, job.account, wanted, self._dialect.request)
                settled = window.settled(reading.samples, complete=reading.complete)
                samples = tuple(sample for sample in settled if sample.timestamp_ms <= until_ms)
                await self._take(session, device, _Read(start, samples, reading.unreadable))
                sent += len(samples)
                start = samples[-1].timestamp_ms if samples and not reading.complete else None
        return sent

    async def _begin(self, job: PollJob) -> tuple[PollSession, MasterData]:
        portal = self._portal_for(job)
        master = await portal.master_data(job.account)
        for device in await self._store.note_master(job, master, self._clock.now_ms()):
            self._observer.device_gone(job, device)
        return PollSession(job, portal), master

    async def _poll_device(self, session: PollSession, device: PortalDevice) -> None:
        """Round by round while the page cap cuts reads off."""
        while True:
            start, reading = await self._read(session, device)
            samples = window.settled(reading.samples, complete=reading.complete)
            moved = await self._take(session, device, _Read(start, samples, reading.unreadable))
            if reading.complete or not moved:
                return

    async def _read(self, session: PollSession, device: PortalDevice) -> tuple[int, DeviceReading]:
        """From the cursors on; and as far back as the log remembers when the clock moved, or when there is nothing new
        although the portal has read the device since.

        A clock that was set back puts new samples before the cursors, where no reading from the cursors on finds them.
        What shows nothing new in the end is not published once more.
        """
        now, memory = self._clock.now_ms(), self._intervals.log_memory_ms
        cursors = session.job.cursors.get(device.id, {})
        start = window.from_ms(cursors, now, memory)
        reading = await self._forward(session, device, start)
        missing = not window.any_new(reading.samples, cursors) and window.read_since(device.last_read_ms, cursors)
        if cursors and (missing or self._clock_moved(session.job, device, reading)):
            start = window.far_from_ms(cursors, now, memory)
            reading = await self._forward(session, device, start)
        if missing and not reading.samples and (newest := await self._newest(session, device)) is not None:
            start = newest - memory
            reading = await self._forward(session, device, start)
        if not window.any_new(reading.samples, cursors):
            reading = msgspec.structs.replace(reading, samples=())
        return start, reading

    async def _newest(self, session: PollSession, device: PortalDevice) -> int | None:
        """The highest time stamp up to now: a clock that is years behind has no sample where we looked."""
        names = self._dialect.request
        wanted = PageRequest(
            device.id, self._clock.now_ms(), names.first_page, session.portal.new_request_id(), backward=True, size=1
        )
        page = await session.portal.readings_page(session.job.account, wanted)
        return max((sample.timestamp_ms for sample in page.samples), default=None)

    async def _forward(self, session: PollSession, device: PortalDevice, start: int) -> DeviceReading:
        wanted = ReadingRequest(device.id, start)
        return await read_forward(session.portal, session.job.account, wanted, self._dialect.request)

    def _check_clock(self, device: PortalDevice, samples: Sequence[Sample]) -> ClockFinding | None:
        """A log that is no longer active ended in the middle of an hour: its last sample may be an hour old."""
        return check_clock(samples, self._clock.now_ms(), self._intervals.longest_lag_ms(active=device.active))

    def _clock_moved(self, job: PollJob, device: PortalDevice, reading: DeviceReading) -> bool:
        finding = self._check_clock(device, reading.samples)
        if finding is None or job.clock_offset_ms is None:
            return False
        return abs(finding.offset_ms - job.clock_offset_ms) > ZONE_TOLERANCE_MS

    async def _take(self, session: PollSession, device: PortalDevice, read: _Read) -> dict[str, window.Cursor]:
        """Maps, publishes, and records after the acknowledgement; returns the cursors that moved."""
        job, samples = session.job, read.samples
        finding = self._check_clock(device, samples)
        routed, target, problem = await self._plan(job, device)
        held = frozenset(routed.held)
        if target is not None and samples:
            doubtful = finding.doubtful if finding else frozenset()
            elements = to_elements(target.number, samples, routed.routes, doubtful)
            batches = await self._publisher.publish(target, elements, job.mapping_version, job.traceparent)
            self._observer.published(job, device, elements, batches)
        cursors = job.cursors.setdefault(device.id, {})
        moved = window.advanced(samples, cursors, held) if session.moves_cursors else {}
        progress = DeviceProgress(
            device=device.id,
            cursors=moved,
            gaps=gaps.find_gaps(samples, device.type, frozenset(session.contacts), self._intervals),
            window=(read.start, samples[-1].timestamp_ms) if samples else None,
            problem=problem or _unreadable(read) or _withheld(read, device, cursors),
        )
        self._observer.read(len(samples), len(read.unreadable))
        self._observer.recorded(job, progress, await self._store.advance(job, progress, self._clock.now_ms()))
        session.saw(samples, finding)
        cursors.update(moved)
        return moved

    async def _plan(self, job: PollJob, device: PortalDevice) -> tuple[DeviceRoutes, Device | None, str | None]:
        """Which channels go where, to which device, and what keeps the others waiting."""
        mapped = job.mapping.device(device.id) if job.mapping else None
        if mapped is None:
            return DeviceRoutes({}, {}), None, None
        routed = route_channels(mapped, device)
        target = await self._publisher.find_device(mapped.provider, mapped.device_number)
        if target is None:
            why = f"device {mapped.device_number} of provider {mapped.provider} is not registered"
            return DeviceRoutes({}, dict.fromkeys([*routed.routes, *routed.held], why)), None, why
        held = "; ".join(f"channel {channel}: {why}" for channel, why in routed.held.items())
        return routed, target, held or None

    async def _note_clock(self, session: PollSession) -> None:
        if session.clock is not None:
            self._observer.clock(session.job, session.clock)
            await self._store.note_clock(session.job, session.clock.state, session.clock.offset_ms)


def in_order(devices: Sequence[PortalDevice]) -> list[PortalDevice]:
    """Returns the log first: it shows when the portal reached the controller, which explains the others' gaps."""
    return sorted(devices, key=lambda device: device.type is not DeviceType.LOG)


def wanted_devices(master: MasterData, job: PollJob) -> list[PortalDevice]:
    """All that are active, and what is no longer but was read since its last sample that we have."""

    def wanted(device: PortalDevice) -> bool:
        return device.active or window.read_since(device.last_read_ms, job.cursors.get(device.id, {}))

    return [device for device in in_order(master.devices) if wanted(device)]


def _unreadable(read: _Read) -> str | None:
    return f"{len(read.unreadable)} samples cannot be read: {read.unreadable[0]}" if read.unreadable else None


def _withheld(read: _Read, device: PortalDevice, cursors: window.Cursors) -> str | None:
    """A wrong dialect may look like a device without data; the portal's own last reading distinguishes them."""
    if read.samples or device.last_read_ms is None or not window.read_since(device.last_read_ms, cursors):
        return None
    return "the portal says it has read this device since, and gives no samples"
