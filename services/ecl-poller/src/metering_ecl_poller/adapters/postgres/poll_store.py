"""The poller's database as polling needs it: leases, cursors, problems and gaps."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from metering_common.postgres.instants import instant_of, unix_ms_of
from metering_common.postgres.pool import TimedPool
from metering_common.postgres.queries import load_queries
from metering_common.service.sealed import Keyring
from metering_ecl_poller.domain.gaps import Gap, GapReason
from metering_ecl_poller.domain.holds import ChannelHold, Holds
from metering_ecl_poller.domain.job import (
    ControllerLeaseLostError,
    DeviceProgress,
    DeviceState,
    PollJob,
    PollResult,
    RecordedProgress,
)
from metering_ecl_poller.domain.mapping import ControllerMapping
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.models import MasterData
from metering_ecl_poller.domain.trust import TrustedSpan
from metering_ecl_poller.domain.window import Cursor

QUERIES = load_queries("metering_ecl_poller.sql")

OPEN_GAP_MS = 11 * 86_400_000
"""Longer than any log remembers: which gaps are read again is the domain's decision."""


class PostgresPollStore:
    """`holder` names this process in the leases; a controller's codes are opened by the keyring as it is claimed."""

    def __init__(self, pool: TimedPool, keyring: Keyring, holder: str, lease_seconds: float) -> None:
        self._pool, self._keyring = pool, keyring
        self._holder, self.lease_seconds = holder, lease_seconds

    async def claim(self, now_ms: int, most: int, except_portals: Sequence[str] = ()) -> list[PollJob]:
        """Controllers that are due, held by this process from now on."""
        lease = (self._holder, self.lease_seconds)
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(QUERIES.claim, *lease, instant_of(now_ms), most, list(except_portals))
            return [await self._job(connection, row, now_ms) for row in rows]

    async def claim_one(self, serial: str, now_ms: int) -> PollJob | None:
        """The one controller; None when someone else holds it or there is none."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(QUERIES.claim_one, self._holder, self.lease_seconds, serial)
            return None if row is None else await self._job(connection, row, now_ms)

    async def _job(self, connection: Any, row: asyncpg.Record, now_ms: int) -> PollJob:
        mapping = await connection.fetchrow(QUERIES.mapping, row["serial"])
        return PollJob(
            account=open_account(self._keyring, row["serial"], row),
            lease=row["lease"],
            attempts=row["attempts"],
            state=row["state"],
            clock_state=row["clock_state"],
            clock_offset_ms=row["clock_offset_ms"],
            mapping=mapping and msgspec.json.decode(mapping["document"], type=ControllerMapping),
            mapping_version=mapping["version"] if mapping else 0,
            devices=await _device_states(connection, row["serial"], now_ms),
        )

    async def renew(self) -> None:
        await self._pool.execute(QUERIES.renew, self._holder, self.lease_seconds)

    async def release(self, job: PollJob) -> None:
        await self._pool.execute(QUERIES.release, job.serial, job.lease)

    async def note_master(self, job: PollJob, master: MasterData, now_ms: int) -> list[str]:
        """Devices that are gone from the portal since the last time."""
        devices = [
            (
                job.serial,
                one.id,
                one.type,
                one.name,
                one.active,
                (None if one.last_read_ms is None else instant_of(one.last_read_ms)),
            )
            for one in master.devices
        ]
        async with self._pool.acquire() as connection, connection.transaction():
            await self._hold(connection, job)
            facts = (master.name, master.application, master.time_zone, master.software_build)
            await connection.execute(QUERIES.note_master, job.serial, *facts)
            await connection.executemany(QUERIES.note_device, devices)
            named = [device.id for device in master.devices]
            gone = await connection.fetch(QUERIES.note_gone, job.serial, named, instant_of(now_ms))
        return [row["device"] for row in gone]

    async def note_clock(self, job: PollJob, state: str, offset_ms: int) -> None:
        await self._pool.execute(QUERIES.note_clock, job.serial, state, offset_ms)

    async def note_problem(self, job: PollJob, device: str, problem: str) -> None:
        await self._pool.execute(QUERIES.note_problem, job.serial, device, problem)

    async def advance(self, job: PollJob, progress: DeviceProgress, now_ms: int) -> RecordedProgress:
        """Raises `ControllerLeaseLostError`."""
        key = (job.serial, progress.device)
        moved = [
            (*key, channel, instant_of(cursor.received_ms), instant_of(cursor.timestamp_ms))
            for channel, cursor in progress.cursors.items()
        ]
        async with self._pool.acquire() as connection, connection.transaction():
            await self._hold(connection, job)
            await connection.executemany(QUERIES.move_cursor, moved)
            await _replace_holds(connection, key, progress.holds)
            await _replace_trusted(connection, key, progress)
            changed = await connection.fetchval(QUERIES.note_problem, *key, progress.problem)
            new_gaps = await self._reconcile_gaps(connection, key, progress, now_ms)
        return RecordedProgress(gaps=new_gaps, problem_is_new=changed is not None)

    async def _reconcile_gaps(
        self, connection: Any, key: tuple[str, str], progress: DeviceProgress, now_ms: int
    ) -> list[str]:
        if progress.window is None and not progress.gaps:
            return []
        channels = [gap.channel for gap in progress.gaps]
        starts = [instant_of(gap.from_ms) for gap in progress.gaps]
        ends = [instant_of(gap.to_ms) for gap in progress.gaps]
        if progress.window is not None:
            window = (instant_of(progress.window[0]), instant_of(progress.window[1]))
            await connection.execute(QUERIES.forget_gaps, *key, *window, channels, starts, ends)
        found = []
        for gap, start, end in zip(progress.gaps, starts, ends, strict=True):
            noticed = (gap.channel, start, end, gap.reason, instant_of(now_ms))
            found.append(await connection.fetchval(QUERIES.record_gap, *key, *noticed))
        return [reason for reason in found if reason is not None]

    async def finish(self, job: PollJob, result: PollResult) -> None:
        """Nothing happens when the lease was lost: the next holder's result counts."""
        await self._pool.execute(
            QUERIES.finish,
            job.serial,
            job.lease,
            result.state,
            result.reason,
            result.attempts,
            instant_of(result.next_due_ms),
            (None if result.polled_at_ms is None else instant_of(result.polled_at_ms)),
        )

    async def counts(self, now_ms: int) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._pool.fetch(QUERIES.counts, instant_of(now_ms))
        return rows

    async def count_held(self) -> int:
        return int(await self._pool.fetchval(QUERIES.count_held))

    async def _hold(self, connection: Any, job: PollJob) -> None:
        if await connection.fetchrow(QUERIES.hold, job.serial, job.lease) is None:
            raise ControllerLeaseLostError(f"controller {job.serial} is held by another replica by now")


async def _device_states(connection: Any, serial: str, now_ms: int) -> dict[str, DeviceState]:
    """Returns what is remembered of the controller's devices. Gaps that no log can fill any more are left out."""
    states: defaultdict[str, DeviceState] = defaultdict(DeviceState)
    for row in await connection.fetch(QUERIES.cursors, serial):
        reached = Cursor(unix_ms_of(row["received_at"]), unix_ms_of(row["stamp"]))
        states[row["device"]].cursors[row["channel"]] = reached
    for row in await connection.fetch(QUERIES.holds, serial):
        resume = None if row["resume"] is None else unix_ms_of(row["resume"])
        hold = ChannelHold(row["reason"], unix_ms_of(row["since"]), resume)
        state = states[row["device"]]
        state.holds = {**state.holds, row["channel"]: hold}
    for row in await connection.fetch(QUERIES.open_gaps, serial, instant_of(now_ms - OPEN_GAP_MS)):
        gap = Gap(row["channel"], unix_ms_of(row["from_at"]), unix_ms_of(row["to_at"]), GapReason(row["reason"]))
        states[row["device"]].open_gaps += (gap,)
    for device, spans in (await trusted_spans(connection, serial)).items():
        states[device].trusted = spans
    return dict(states)


async def trusted_spans(connection: Any, serial: str) -> dict[str, tuple[TrustedSpan, ...]]:
    """Returns the spans of each device of the controller, in order."""
    spans: dict[str, tuple[TrustedSpan, ...]] = {}
    for row in await connection.fetch(QUERIES.trusted_spans, serial):
        span = TrustedSpan(unix_ms_of(row["from_at"]), unix_ms_of(row["to_at"]))
        spans[row["device"]] = (*spans.get(row["device"], ()), span)
    return spans


async def _replace_holds(connection: Any, key: tuple[str, str], held: Holds) -> None:
    await connection.execute(QUERIES.release_holds, *key, list(held))
    rows = [
        (
            *key,
            channel,
            hold.reason,
            instant_of(hold.since_ms),
            (None if hold.resume_ms is None else instant_of(hold.resume_ms)),
        )
        for channel, hold in held.items()
    ]
    await connection.executemany(QUERIES.hold_channel, rows)


async def _replace_trusted(connection: Any, key: tuple[str, str], progress: DeviceProgress) -> None:
    """Only where a read brought samples: the spans cannot have changed otherwise."""
    if progress.window is not None:
        await connection.execute(QUERIES.forget_trusted_spans, *key)
        rows = [(*key, instant_of(span.from_ms), instant_of(span.to_ms)) for span in progress.trusted]
        await connection.executemany(QUERIES.trust_span, rows)


def open_account(keyring: Keyring, serial: str, row: asyncpg.Record) -> PortalAccount:
    """Raises `SealedError`."""
    server_code = keyring.open(row["server_code"], sealed_context(serial, "server"))
    access_code = keyring.open(row["access_code"], sealed_context(serial, "access"))
    return PortalAccount(row["portal"], serial, server_code.decode(), access_code.decode())


def sealed_context(serial: str, what: str) -> bytes:
    """A code sealed for one controller opens no other's row."""
    return f"ecl/{serial}/{what}".encode()
