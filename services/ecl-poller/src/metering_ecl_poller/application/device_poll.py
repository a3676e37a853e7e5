"""Polls one device of a controller: its backlog, the gaps that may be filled, and what is new."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple, Protocol

from metering_common.registry.documents import Device
from metering_common.service.clock import Clock
from metering_ecl_poller.application.observer import Observer
from metering_ecl_poller.application.reading import Portal, read_forward
from metering_ecl_poller.domain import gaps, holds, window
from metering_ecl_poller.domain.clock_check import (
    ZONE_TOLERANCE_MS,
    ClockFinding,
    ClockState,
    Doubtful,
    check_clock,
)
from metering_ecl_poller.domain.elements import PortalElement, to_elements
from metering_ecl_poller.domain.gaps import Gap, GapReason, SamplingIntervals
from metering_ecl_poller.domain.job import DeviceProgress, PollJob, RecordedProgress
from metering_ecl_poller.domain.mapping import DeviceRoutes, plan_routes
from metering_ecl_poller.domain.portal.answer import PageRequest
from metering_ecl_poller.domain.portal.dialect import Dialect
from metering_ecl_poller.domain.portal.errors import AnswerUnreadableError, PortalError
from metering_ecl_poller.domain.portal.models import DeviceType, MasterData, PortalDevice, Sample
from metering_ecl_poller.domain.portal.pages import DeviceReading, ReadingRequest
from metering_ecl_poller.domain.trust import Publishable, extended, publishable


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


class PollSession:
    """What one poll of a controller learns on its way from device to device."""

    def __init__(self, job: PollJob, portal: Portal) -> None:
        self.job, self.portal = job, portal
        self.contacts: set[int] = set()
        """When the portal reached the controller, as the devices read so far show."""
        self.clock: ClockFinding | None = None
        self.errors: list[PortalError] = []

    def saw(self, samples: Sequence[Sample], finding: ClockFinding | None) -> None:
        """One device with doubtful time stamps is enough to doubt the controller's clock."""
        self.contacts |= {sample.received_ms for sample in samples}
        if finding is not None and (self.clock is None or self.clock.state is ClockState.RIGHT):
            self.clock = finding


class _Round(NamedTuple):
    """One read: what was asked for, what came, and whether the portal's page cap cut it off."""

    start_ms: int
    samples: tuple[Sample, ...]
    unreadable: tuple[str, ...] = ()


class DevicePoll:
    """`run` may be called once."""

    def __init__(
        self,
        session: PollSession,
        device: PortalDevice,
        store: PollStore,
        publisher: RawPublisher,
        *,
        dialect: Dialect,
        intervals: SamplingIntervals,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._session, self._device, self._job = session, device, session.job
        self._store, self._publisher, self._observer = store, publisher, observer
        self._dialect, self._intervals, self._clock = dialect, intervals, clock
        self._state = session.job.device(device.id)
        self._interval_ms = intervals.interval_of(device.type)
        self._routes = DeviceRoutes({}, {})
        self._target: Device | None = None
        self._problem: str | None = None

    async def run(self) -> None:
        """Raises `PortalError`, what the publisher raises, or `ControllerLeaseLostError`."""
        self._routes, self._target = await self._plan()
        await self._read_backlog()
        await self._read_open_gaps()
        await self._read_new()

    async def publish_again(self, samples: tuple[Sample, ...]) -> None:
        """Publishes what the mapping takes of these samples; cursors, holds and gaps stay."""
        self._routes, self._target = await self._plan()
        finding = self._check_clock(samples)
        doubtful = finding.doubtful if finding else frozenset()
        chosen = publishable(samples, doubtful, self._state.trusted, self._interval_ms)
        await self._publish(chosen.samples, doubtful)
        self._session.saw(samples, finding)

    async def _plan(self) -> tuple[DeviceRoutes, Device | None]:
        """Returns which channels go where, and to which device of the platform; without it all are held."""
        mapped = self._job.mapping.device(self._device.id) if self._job.mapping else None
        routes = plan_routes(mapped, self._device)
        if mapped is None:
            return routes, None
        target = await self._publisher.find_device(mapped.provider, mapped.device_number)
        if target is None:
            why = f"device {mapped.device_number} of provider {mapped.provider} is not registered"
            return routes.all_held(why), None
        return routes, target

    async def _read_backlog(self) -> None:
        """Reads channels that were held and are published now, from where they were held to where the others are."""
        backlog = holds.backlog(self._state.holds, self._routes.routes)
        if not backlog or not self._state.cursors:
            return
        now = self._clock.now_ms()
        beginning = window.beginning_ms(self._device.created_ms, now)
        start = min(beginning if hold.resume_ms is None else hold.resume_ms for hold in backlog.values())
        until = window.from_ms(self._state.cursors, now, self._intervals.log_memory_ms) + window.OVERLAP_MS
        async for one, complete in self._rounds(start, until):
            reached = None if complete or not one.samples else one.samples[-1].timestamp_ms
            await self._take(one, only=frozenset(backlog), reached_ms=reached)

    async def _read_open_gaps(self) -> None:
        """Asks again for what the log may have delivered late, however far behind the cursors."""
        if self._device.type is not DeviceType.LOG:
            return
        open_gaps, memory = self._state.open_gaps, self._intervals.log_memory_ms
        for start, until in gaps.spans_to_read_again(open_gaps, self._clock.now_ms(), memory):
            async for one, _complete in self._rounds(start, until):
                if gaps.fills_any(one.samples, open_gaps):
                    await self._take(one)

    async def _read_new(self) -> None:
        """Reads from the cursors on; and as far back as the log remembers when the clock moved, or when there is
        nothing new although the portal has read the device since.

        A clock that was set back puts new samples before the cursors, where no reading from the cursors on finds them.
        """
        cursors, now, memory = dict(self._state.cursors), self._clock.now_ms(), self._intervals.log_memory_ms
        beginning = window.beginning_ms(self._device.created_ms, now)
        first = window.from_ms(cursors, now, memory) if cursors else beginning
        found = await self._take_new(first, cursors)
        missing = not found.new and window.read_since(self._device.last_read_ms, cursors)
        if cursors and (missing or found.clock_moved):
            found = await self._take_new(window.far_from_ms(cursors, now, memory), cursors)
        if missing and not found.samples and (newest := await self._newest()) is not None:
            found = await self._take_new(newest - max(memory, now - beginning), cursors)
        if not found.new:
            await self._record_nothing_new(found, cursors)

    async def _take_new(self, start_ms: int, cursors: window.Cursors) -> "_Found":
        """Takes every round that has something new; a repeated overlap alone is not published again."""
        found = _Found()
        async for one, _complete in self._rounds(start_ms, self._clock.now_ms()):
            found.samples += len(one.samples)
            found.unreadable += one.unreadable
            found.clock_moved = found.clock_moved or self._clock_moved(one.samples)
            if window.any_new(one.samples, cursors):
                found.new = True
                await self._take(one, released=not cursors)
        return found

    async def _record_nothing_new(self, found: "_Found", cursors: window.Cursors) -> None:
        self._problem = self._problem_of(found.unreadable) or self._withheld(found, cursors)
        nothing, none = _Round(0, ()), Publishable((), (), ())
        self._update_holds(nothing, none, None)
        await self._record(nothing, none, None)

    async def _rounds(self, start_ms: int, until_ms: int) -> AsyncIterator[tuple[_Round, bool]]:
        """Yields reads one behind the other, as the page cap cuts them off, and whether each is the last.

        Raises `AnswerUnreadableError` when a read that was cut off reaches nothing later than its beginning.
        """
        start = start_ms
        while True:
            wanted = ReadingRequest(self._device.id, start, until_ms, channels=self._device.channel_ids)
            reading = await read_forward(self._session.portal, self._job.account, wanted, self._dialect.request)
            samples = self._progressing(reading, start)
            yield _Round(start, samples, reading.unreadable), reading.complete
            if reading.complete:
                return
            start = samples[-1].timestamp_ms

    def _progressing(self, reading: DeviceReading, start_ms: int) -> tuple[Sample, ...]:
        """Returns the read without a collection that was cut off in the middle, unless that is all of it."""
        settled = window.settled(reading.samples, complete=reading.complete)
        if reading.complete or (settled and settled[-1].timestamp_ms > start_ms):
            return settled
        if not reading.samples or reading.samples[-1].timestamp_ms <= start_ms:
            what = "the first pages bring nothing later than `from`: are the names of `from` and of the page right?"
            raise AnswerUnreadableError(self._job.serial, "readings", what)
        return reading.samples

    async def _newest(self) -> int | None:
        """The highest time stamp up to now: a clock that is years behind has no sample where we looked."""
        names, portal = self._dialect.request, self._session.portal
        wanted = PageRequest(
            self._device.id,
            self._clock.now_ms(),
            names.first_page,
            portal.new_request_id(),
            backward=True,
            size=1,
            channels=self._device.channel_ids,
        )
        page = await portal.readings_page(self._job.account, wanted)
        return max((sample.timestamp_ms for sample in page.samples), default=None)

    def _check_clock(self, samples: Sequence[Sample]) -> ClockFinding | None:
        """A log that is no longer active ended in the middle of an hour: its last sample may be an hour old."""
        return check_clock(samples, self._clock.now_ms(), self._intervals.longest_lag_ms(active=self._device.active))

    def _clock_moved(self, samples: Sequence[Sample]) -> bool:
        finding, known = self._check_clock(samples), self._job.clock_offset_ms
        return finding is not None and known is not None and abs(finding.offset_ms - known) > ZONE_TOLERANCE_MS

    async def _take(
        self, one: _Round, only: frozenset[str] | None = None, *, reached_ms: int | None = None, released: bool = False
    ) -> None:
        """Publishes a read, and records it after the acknowledgement.

        `only`: the channels of a backlog, read up to `reached_ms`, or wholly. `released`: the read is the device's
        first, so that no channel has a backlog after it.
        """
        finding = self._check_clock(one.samples)
        doubtful = finding.doubtful if finding else frozenset()
        chosen = publishable(one.samples, doubtful, self._state.trusted, self._interval_ms)
        wanted = [sample for sample in chosen.samples if only is None or sample.channel in only]
        published = await self._publish(wanted, doubtful)
        self._state.trusted = extended(self._state.trusted, published, doubtful, self._interval_ms)
        self._update_holds(one, chosen, only)
        if only is not None:
            self._state.holds = holds.resumed(self._state.holds, only, reached_ms)
        elif released:
            self._state.holds = holds.resumed(self._state.holds, self._routes.routes, None)
        self._problem = self._problem_of(one.unreadable) or _waiting(chosen.waiting)
        await self._record(one, chosen, finding)

    def _update_holds(self, one: _Round, chosen: Publishable, only: frozenset[str] | None) -> None:
        seen = {sample.channel for sample in one.samples} | {*self._device.channel_ids, *self._state.holds}
        held = self._routes.held_among(seen)
        now, cursors = self._clock.now_ms(), self._state.cursors
        self._state.holds = holds.updated(self._state.holds, held, self._routes.routes, cursors, now)
        if only is None:
            self._state.holds = holds.behind(self._state.holds, chosen.samples, held)

    async def _publish(self, samples: Sequence[Sample], doubtful: Doubtful) -> list[Sample]:
        """Returns the samples that have a route, once Kafka has acknowledged them."""
        published = [sample for sample in samples if sample.channel in self._routes.routes]
        if self._target is None or not published:
            return []
        elements = to_elements(self._target.number, published, self._routes.routes, doubtful)
        batches = await self._publisher.publish(
            self._target, elements, self._job.mapping_version, self._job.traceparent
        )
        self._observer.published(self._job, self._device, elements, batches)
        return published

    async def _record(self, one: _Round, chosen: Publishable, finding: ClockFinding | None) -> None:
        samples = sorted((*chosen.samples, *chosen.lost), key=lambda sample: sample.timestamp_ms)
        moved = window.advanced(samples, self._state.cursors)
        progress = DeviceProgress(
            device=self._device.id,
            cursors=moved,
            gaps=[*self._gaps(one, samples), *gaps.repeated_stamps(chosen.lost)],
            window=(one.start_ms, samples[-1].timestamp_ms) if samples else None,
            holds=self._state.holds,
            trusted=self._state.trusted,
            problem=self._routes.problem(self._state.holds) or self._problem,
        )
        self._observer.read(len(samples), len(one.unreadable))
        recorded = await self._store.advance(self._job, progress, self._clock.now_ms())
        self._observer.recorded(self._job, progress, recorded)
        self._session.saw(samples, finding)
        self._state.cursors.update(moved)

    def _gaps(self, one: _Round, samples: Sequence[Sample]) -> Iterable[Gap]:
        """Also what lies before the first read, when the device is older than the platform takes."""
        yield from gaps.find_gaps(samples, self._device.type, frozenset(self._session.contacts), self._intervals)
        created = self._device.created_ms
        if created is not None and created < one.start_ms and not self._state.cursors:
            first = {sample.channel: sample.timestamp_ms for sample in reversed(samples)}
            yield from (Gap(channel, created, stamp, GapReason.TOO_OLD) for channel, stamp in first.items())

    def _problem_of(self, unreadable: Sequence[str]) -> str | None:
        return f"{len(unreadable)} samples cannot be read: {unreadable[0]}" if unreadable else None

    def _withheld(self, found: "_Found", cursors: window.Cursors) -> str | None:
        """A wrong dialect may look like a device without data; the portal's own last reading distinguishes them.

        A device that is no longer active and shows what we have has ended.
        """
        ended = found.samples > 0 and not self._device.active
        if ended or self._device.last_read_ms is None or not window.read_since(self._device.last_read_ms, cursors):
            return None
        return "the portal has read this device since its last sample, and gives none"


class _Found:
    """What a search for new samples brought."""

    def __init__(self) -> None:
        self.samples = 0
        self.unreadable: tuple[str, ...] = ()
        self.new = self.clock_moved = False


def _waiting(samples: Sequence[Sample]) -> str | None:
    """A clock that is ahead: its samples are published when their time has come."""
    if not samples:
        return None
    ahead = max(sample.timestamp_ms - sample.answered_ms for sample in samples)
    return f"{len(samples)} samples are stamped up to {round(ahead / 60_000)} min ahead of now: they wait until then"
