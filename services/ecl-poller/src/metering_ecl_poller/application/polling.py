"""Polls one controller: ask, archive every answer, map, publish, and only then record how far it came."""

from collections.abc import Callable, Sequence

from metering_common.service.clock import Clock
from metering_ecl_poller.application.device_poll import DevicePoll, PollSession, PollStore, RawPublisher
from metering_ecl_poller.application.observer import Observer
from metering_ecl_poller.application.reading import Portal, read_forward
from metering_ecl_poller.domain import window
from metering_ecl_poller.domain.gaps import sampling_intervals
from metering_ecl_poller.domain.job import PollJob
from metering_ecl_poller.domain.portal.dialect import Dialect
from metering_ecl_poller.domain.portal.errors import (
    AnswerUnreadableError,
    PortalError,
    PortalRefusedError,
    PortalUnreachableError,
)
from metering_ecl_poller.domain.portal.models import DeviceType, MasterData, PortalDevice
from metering_ecl_poller.domain.portal.pages import ReadingRequest

MOST_WITHOUT_ANSWER = 2
"""Devices in a row whose requests got no answer at all: then the portal is away, and the others are not asked."""


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
        self._intervals = sampling_intervals(dialect)

    async def poll(self, job: PollJob) -> None:
        """Raises `PortalError`, what the publisher raises, or `ControllerLeaseLostError`.

        What was published stays published. A device that fails does not keep the others from being polled.
        """
        session, master = await self._begin(job)
        without_answer = 0
        for device in wanted_devices(master, job):
            try:
                await self._device_poll(session, device).run()
                without_answer = 0
            except (PortalRefusedError, AnswerUnreadableError, PortalUnreachableError) as error:
                session.errors.append(error)
                await self._store.note_problem(job, device.id, str(error))
                without_answer += isinstance(error, PortalUnreachableError) and not error.answered
                if without_answer >= MOST_WITHOUT_ANSWER:
                    break
        await self._note_clock(session)
        if session.errors:
            raise worst(session.errors)

    async def backfill(self, job: PollJob, from_ms: int, until_ms: int) -> int:
        """Publishes everything again that the portal has between two moments; cursors stay.

        Returns the number of samples.
        """
        session, master = await self._begin(job)
        sent = 0
        for device in in_order(master.devices):
            polled = self._device_poll(session, device)
            start: int | None = from_ms
            while start is not None:
                wanted = ReadingRequest(device.id, start, until_ms, channels=device.channel_ids)
                reading = await read_forward(session.portal, job.account, wanted, self._dialect.request)
                settled = window.settled(reading.samples, complete=reading.complete)
                samples = tuple(sample for sample in settled if sample.timestamp_ms <= until_ms)
                await polled.publish_again(samples)
                sent += len(samples)
                start = samples[-1].timestamp_ms if samples and not reading.complete else None
        return sent

    def _device_poll(self, session: PollSession, device: PortalDevice) -> DevicePoll:
        return DevicePoll(
            session,
            device,
            self._store,
            self._publisher,
            dialect=self._dialect,
            intervals=self._intervals,
            clock=self._clock,
            observer=self._observer,
        )

    async def _begin(self, job: PollJob) -> tuple[PollSession, MasterData]:
        portal = self._portal_for(job)
        master = await portal.master_data(job.account)
        for device in await self._store.note_master(job, master, self._clock.now_ms()):
            self._observer.device_gone(job, device)
        return PollSession(job, portal), master

    async def _note_clock(self, session: PollSession) -> None:
        if session.clock is not None:
            self._observer.clock(session.job, session.clock)
            await self._store.note_clock(session.job, session.clock.state, session.clock.offset_ms)


def in_order(devices: Sequence[PortalDevice]) -> list[PortalDevice]:
    """Returns the log first: it shows when the portal reached the controller, which explains the others' gaps."""
    return sorted(devices, key=lambda device: device.type is not DeviceType.LOG)


def wanted_devices(master: MasterData, job: PollJob) -> list[PortalDevice]:
    """Returns all that are active, have a backlog, or were read by the portal since their last sample that we have."""

    def wanted(device: PortalDevice) -> bool:
        state = job.device(device.id)
        return device.active or bool(state.holds) or window.read_since(device.last_read_ms, state.cursors)

    return [device for device in in_order(master.devices) if wanted(device)]


def worst(errors: Sequence[PortalError]) -> PortalError:
    """Returns the error by which the poll is known: one without any answer before the others."""
    return max(errors, key=lambda error: isinstance(error, PortalUnreachableError) and not error.answered)
