"""Where every measure stands from before it is first sent until the platform's 201: SQLite, durable at every return."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from metering_gateway.disk import STORABLE_FREE_BYTES, DiskFullError, FreeBytes, Reserve, free_bytes
from metering_gateway.domain.answers import Answer
from metering_gateway.domain.measures import (
    Measure,
    StoredMeasure,
    require_timestamp,
    require_utf8,
    sensor_values_json,
)
from metering_gateway.outbox_file import OutboxDamagedError, damage_mark, is_damage, open_database
from metering_gateway.sql import named_queries

T = TypeVar("T")

_QUERIES = named_queries("queries.sql")
_LOOK_AHEAD = 400  # how many of the oldest are looked at to fill one request
_ANSWER_CHARACTERS = 4_000  # of an answer are kept beside what it refused
_DROPPED_AT_ONCE = 100  # of the oldest, when the outbox is at its limit
_PAGES_GIVEN_BACK = 2_000  # at most at once, so that nobody waits long for it
RESERVE_FILE = "reserve"


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """`max_bytes` of rows on the disk, `max_age_seconds` of a measure's timestamp; None: no limit.

    `drop`: which measures go when `max_bytes` is reached, those that wait longest or those that come.
    """

    max_bytes: int | None = None
    max_age_seconds: int | None = None
    drop: Literal["oldest", "newest"] = "oldest"


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a file is stored: whole days that its times are moved by, and rows."""

    shift_days: int
    rows_stored: int
    finished: bool


@dataclass(frozen=True, slots=True)
class LocalStamp:
    """When a measure was stored by a gateway that did not know the platform's time: milliseconds since which boot."""

    boot: str
    steady_ms: int


def open_outbox(path: Path, limits: OutboxLimits | None = None) -> "Outbox":
    """Opens it and reads its account; a damaged one is set aside at once, and what can be read goes into a new one."""
    for _ in range(2):
        outbox = Outbox(path, limits)
        try:
            outbox.account()
        except OutboxDamagedError:
            outbox.close()
        except BaseException:
            outbox.close()
            raise
        else:
            return outbox
    raise OutboxDamagedError(f"{path} is damaged again right after it was begun: the disk is broken")


class Outbox:
    """One file, safe for several processes. Methods that change it return only after the change is on the disk.

    Raises sqlite3.Error when the disk is broken or another process holds the file too long, and OutboxDamagedError
    when the file cannot be read: then nothing of the call was stored. `salvage` says what became of a damaged file
    that was found here and set aside.
    """

    def __init__(self, path: Path, limits: OutboxLimits | None = None, free: FreeBytes = free_bytes) -> None:
        self._path = path
        self._limits = limits or OutboxLimits()
        self._free = free
        self._reserve = Reserve(path.parent / RESERVE_FILE)
        self._db, self.salvage = open_database(path)
        self.hold_reserve()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is called inside it; may be nested, the outermost decides."""
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._roll_back()
            self._mark_damage(error)
            raise
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # a full disk may have ended it already
            self._db.execute("ROLLBACK")

    def _mark_damage(self, error: sqlite3.DatabaseError) -> None:
        """Raises OutboxDamagedError if that is what it is."""
        if is_damage(error):
            damage_mark(self._path).touch()
            raise OutboxDamagedError(f"{self._path} is damaged ({error}); the next start sets it aside") from error

    def _recorded(self, change: Callable[[], T]) -> T:
        """Runs a change that makes room in the long run in a transaction; on a full disk, on the reserve's space."""
        try:
            with self.transaction():
                return change()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._reserve.release():
                raise
        with self.transaction():
            return change()

    def store(self, measures: Iterable[Measure], stamp: LocalStamp | None = None) -> int:
        """How many were stored. A `stamp` says that their timestamps are by a clock that is yet to be corrected.

        Raises UnstorableMeasureError if one cannot be written as the published JSON, and DiskFullError; then none is
        stored.
        """
        self._require_space()
        with self.transaction():
            counts = Counter[str]()
            for measure in measures:
                counts["stored_measures"] += 1
                counts["stored_values"] += self._store_one(measure, stamp)
            self.count(counts)
            self._drop_over_limit(counts["stored_measures"])
        return counts["stored_measures"]

    def _require_space(self) -> None:
        """What is left on a full disk is kept for recording what was sent."""
        free = self._free(self._path.parent)
        if free < STORABLE_FREE_BYTES:
            raise DiskFullError(f"the disk of {self._path.parent} is full ({free >> 10} KiB free): nothing is stored")

    def _drop_over_limit(self, newest: int) -> None:
        """Makes room if the outbox is over its limit; counted as dropped, so that the account still closes."""
        limit, dropped = self._limits.max_bytes, 0
        if limit is None or self._number("used_bytes") <= limit:
            return
        if self._limits.drop == "newest":
            dropped = self._do("drop_newest", count=newest)
        else:
            while self._number("used_bytes") > limit and (gone := self._do("drop_oldest", count=_DROPPED_AT_ONCE)):
                dropped += gone
        self.count({"dropped_measures": dropped})

    def drop_too_old(self, now_seconds: int) -> int:
        """Drops what waited longer than it may, by the platform's clock; returns how many."""
        age = self._limits.max_age_seconds
        if age is None:
            return 0

        def drop() -> int:
            gone = self._do("drop_older", before=now_seconds - age)
            self.count({"dropped_measures": gone})
            return gone

        return self._recorded(drop)

    def give_back(self) -> None:
        """Gives pages that are free again back to the disk, some at a time."""
        if not self._number("free_pages"):
            return
        self._db.executescript(f"PRAGMA incremental_vacuum({_PAGES_GIVEN_BACK})")  # `execute` takes one step only
        if not self._number("free_pages"):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def hold_reserve(self) -> None:
        """Takes the reserve again once a full disk has room."""
        if self.free_bytes() >= STORABLE_FREE_BYTES:
            self._reserve.hold()

    def free_bytes(self) -> int:
        """What the disk has left."""
        return self._free(self._path.parent)

    def request_bytes(self) -> int:
        """The size of a request that the line carried last; 0 if it is not known."""
        return self._one("remembered", name="request_bytes") or 0

    def remember_request_bytes(self, size: int) -> None:
        if self.request_bytes() != size:
            self._recorded(lambda: self._do("remember", name="request_bytes", number=size))

    def _store_one(self, measure: Measure, stamp: LocalStamp | None) -> int:
        require_timestamp(measure.timestamp)
        require_utf8(measure.device_number)
        row = {
            "device_id": self._one("device_id", number=measure.device_number),
            "timestamp": measure.timestamp,
            "boot": stamp.boot if stamp else None,
            "steady_ms": stamp.steady_ms if stamp else None,
            "sensor_values": sensor_values_json(measure.values),
            "value_count": len(measure.values),
        }
        self._do("store", **row)
        return len(measure.values)

    def correct(self, boot: str, steady_offset_ms: int, wall_offset_ms: int) -> int:
        """Gives the measures stored by an unknown clock the platform's time; how many.

        What was stored since this boot is placed by the steady clock (+ `steady_offset_ms`), which nobody sets; what
        was stored before it only has the wall clock's reading (+ `wall_offset_ms`).
        """
        with self.transaction():
            exact = self._do("correct_this_boot", boot=boot, offset_ms=steady_offset_ms)
            return exact + self._do("correct_earlier_boots", seconds=round(wall_offset_ms / 1000))

    def has_uncorrected(self) -> bool:
        return bool(self._number("uncorrected"))

    def due(self, now_ms: int, limit: int = _LOOK_AHEAD) -> list[StoredMeasure]:
        """The oldest that may be sent now, in order; by default more than fit one request."""
        rows = self._rows("due", now_ms=now_ms, limit=limit)
        return [StoredMeasure(*row) for row in rows]

    def next_due_ms(self) -> int | None:
        """When the first unknown device with measures is to be tried again; Unix milliseconds of this clock."""
        found = self._one("next_due")
        return None if found is None else int(found)

    def delivered(
        self, measures: Sequence[StoredMeasure], location: str | None, warnings: Mapping[str, int], now_ms: int
    ) -> None:
        """201: deletes them and counts them, and remembers where their result is to be read."""
        values = sum(measure.value_count for measure in measures)

        def deliver() -> None:
            gone = sum(
                self._do("delete", id=measure.id) for measure in measures
            )  # some may have been dropped meanwhile
            for number in {measure.device_number for measure in measures}:
                self._do("known", number=number)
            if location is not None:
                self._do("await_result", location=location, value_count=values, now_ms=now_ms)
            self.count({"sent_measures": gone, "sent_values": values, **warnings})

        self._recorded(deliver)

    def refuse(self, measure: StoredMeasure, answer: Answer, now_ms: int) -> None:
        """Keeps the one measure at fault with the answer, out of the way of the others."""
        row = {"id": measure.id, "status": answer.status, "answer": answer.text[:_ANSWER_CHARACTERS], "now_ms": now_ms}

        def move() -> None:
            self._do("refuse", **row)
            self._do("delete", id=measure.id)

        self._recorded(move)

    def take_out(self, numbers: Sequence[str], answer: Answer, now_ms: int, retry_at_ms: int) -> None:
        """Keeps the measures of devices that the platform does not know until `retry_at_ms`."""
        row = {"answer": answer.text[:_ANSWER_CHARACTERS], "now_ms": now_ms, "retry_at_ms": retry_at_ms}
        self._recorded(lambda: [self._do("take_out", number=number, **row) for number in numbers])

    def try_unknown_now(self) -> int:
        with self.transaction():
            return self._do("try_unknown_now")

    def requeue_refused(self) -> int:
        """Puts what was refused in line again; how many."""
        with self.transaction():
            moved = self._do("requeue_refused")
            self._do("delete_refused")
            return moved

    def forget_refused(self) -> int:
        """Gives up what was refused; how many."""
        with self.transaction():
            gone = self._do("delete_refused")
            self.count({"forgotten_measures": gone})
            return gone

    def count(self, figures: Mapping[str, int]) -> None:
        rows = [{"name": name, "count": count} for name, count in figures.items() if count]
        with self.transaction():
            self._db.executemany(_QUERIES["count"], rows)

    def figure(self, name: str) -> int:
        """One figure of the account."""
        return self._one("figure", name=name) or 0

    def account(self) -> Counter[str]:
        """All figures since the outbox was made, and what stands in it now."""
        with self.transaction():
            figures = Counter[str]({row["name"]: row["count"] for row in self._rows("account")})
            row = self._rows("waiting").fetchone()
            now = {"refused": self._number("refused_count"), "awaiting_result": self._number("awaiting_result")}
            return figures + Counter(waiting=row["waiting"], unknown=row["unknown"], **now)

    def pending_by_device(self) -> list[dict[str, object]]:
        return [dict(row) for row in self._rows("pending_by_device")]

    def refused(self, limit: int) -> list[dict[str, object]]:
        rows = self._rows("refused", limit=limit)
        return [dict(row) | {"sensor_values": json.loads(row["sensor_values"])} for row in rows]

    def results_due(self) -> list[tuple[str, int]]:
        """(location, values) of each batch whose result is still to be read, oldest first."""
        return [tuple(row) for row in self._rows("results_due")]

    def result_read(self, location: str, figures: Mapping[str, int]) -> None:
        def read() -> None:
            if self._do("result_read", location=location):
                self.count(figures)

        self._recorded(read)

    def replay(self, source: str) -> ReplayProgress | None:
        row = self._rows("replay", source=source).fetchone()
        return ReplayProgress(row["shift_days"], row["rows_stored"], bool(row["finished"])) if row else None

    def replay_begins(self, source: str, shift_days: int) -> None:
        with self.transaction():
            self._do("replay_begins", source=source, shift_days=shift_days)

    def replay_stored(self, source: str, rows_stored: int, measures: Iterable[Measure]) -> int:
        """The rows' measures and the progress in one transaction: a kill between them is impossible."""
        with self.transaction():
            self._do("replay_stored", source=source, rows_stored=rows_stored)
            return self.store(measures)

    def replay_finished(self, source: str) -> None:
        with self.transaction():
            self._do("replay_finished", source=source)

    def _do(self, query: str, **parameters: object) -> int:
        return self._rows(query, **parameters).rowcount

    def _number(self, query: str) -> int:
        return self._one(query) or 0

    def _one(self, query: str, **parameters: object) -> int | None:
        row = self._rows(query, **parameters).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _rows(self, query: str, **parameters: object) -> sqlite3.Cursor:
        try:
            return self._db.execute(_QUERIES[query], parameters)
        except sqlite3.DatabaseError as error:
            self._mark_damage(error)
            raise
