"""Gives stored values the quality that they would get today: what it was goes to the history, the act to the ledger."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg

from metering_common.contract.batch_id import new_batch_id
from metering_common.postgres.pool import TimedPool
from metering_common.service.clock import Clock
from metering_writer.adapters.session import Session
from metering_writer.queries import sql

RACE_SECONDS = 0.02
"""How much longer is waited after each of them. Rows of compressed chunks cannot be locked beforehand."""
DAY = timedelta(days=1)
MOST_RACES = 30
MOST_DAYS = 2**15 - 1  # the items that a batch can have
"""Lost races against writers in a row after which the command gives up; it is safe to repeat."""

Changes = Counter[tuple[int, int]]
"""How many values go from which quality to which."""


class Range(NamedTuple):
    """Values of one sensor of one device, measured from (inclusive) to (exclusive)."""

    device: int
    provider_id: int
    provider: str | None
    number: str
    sensor: int
    sensor_name: str
    since: datetime
    upto: datetime

    def days(self) -> "Iterator[Range]":
        """Cut at midnight UTC, as chunks are: an act on one of them unpacks no other."""
        since = self.since
        while since < self.upto:
            midnight = datetime.combine(since.astimezone(UTC).date() + DAY, datetime.min.time(), UTC)
            upto = min(midnight, self.upto)
            yield self._replace(since=since, upto=upto)
            since = upto

    @property
    def arguments(self) -> tuple[int, int, datetime, datetime]:
        return self.device, self.sensor, self.since, self.upto


class UnknownTargetError(Exception):
    """The storage database knows no such device or sensor."""


async def find_range(pool: TimedPool, device: int, sensor: str, since: datetime, upto: datetime) -> Range:
    """The sensor by id, name or alias. Raises `UnknownTargetError`."""
    async with pool.acquire() as session:
        devices = await session.fetch(sql.find_device, device)
        sensors = await session.fetch(sql.find_sensor, sensor)
    if not devices:
        raise UnknownTargetError(f"no device {device}: the table device has the ids")
    if not sensors:
        raise UnknownTargetError(f"no sensor {sensor!r}: the table sensor has ids, names and aliases")
    found, entry = devices[0], sensors[0]
    return Range(
        device, found["provider_id"], found["provider"], found["number"], entry["id"], entry["name"], since, upto
    )


class Requalifier:
    """One day at a time: broken off, what is done is done, and the next run does the rest."""

    def __init__(self, pool: TimedPool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock

    async def count(self, chosen: Range) -> Changes:
        """What `apply` would do."""
        async with self._pool.acquire() as session:
            return await _count(session, chosen)

    async def apply(self, chosen: Range) -> Changes:
        """What it did, day by day. Raises `ValueError` where there are more days than a batch has items."""
        days = list(chosen.days())
        if len(days) > MOST_DAYS:
            raise ValueError(f"{len(days)} days are too many at once: at most {MOST_DAYS}")
        received_at_ms = self._clock.now_ms()
        act = _Act(new_batch_id(received_at_ms), received_at_ms, len(days))
        changes: Changes = Counter()
        for item, day in enumerate(days):
            changes += await self._apply_one(day, act, item)
        return changes

    async def _apply_one(self, day: Range, act: "_Act", item: int) -> Changes:
        for race in range(MOST_RACES):
            try:
                async with self._pool.acquire() as session, session.transaction(isolation="repeatable_read"):
                    return await _requalify(session, day, act, item)
            except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                await asyncio.sleep(race * RACE_SECONDS)
        raise TimeoutError(f"writers kept changing the values of {day.since:%Y-%m-%d}: run it again, it is safe")


class _Act(NamedTuple):
    """What one run of the command is in the ledger: a batch with an item for each day that it changes."""

    batch_id: UUID
    received_at_ms: int
    items: int


async def _count(session: Session, chosen: Range) -> Changes:
    rows = await session.fetch(sql.count_requalified, *chosen.arguments)
    return Counter({(row["old_quality"], row["new_quality"]): row["count"] for row in rows})


async def _requalify(session: Session, day: Range, act: _Act, item: int) -> Changes:
    """In the caller's transaction (repeatable read), in which all statements see the same values."""
    changes = await _count(session, day)
    if changes:
        await session.execute(sql.keep_requalified, *day.arguments, act.batch_id, item)
        await session.execute(sql.requalify, *day.arguments)
        await session.execute(sql.note_requalified, *day.arguments, act.batch_id, item)
        received_at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=act.received_at_ms)
        await session.execute(
            sql.record_requalified, received_at, act.received_at_ms << 20, act.batch_id, day.device, day.provider_id,
            changes.total(), item, act.items,
        )  # fmt: skip
    return changes
