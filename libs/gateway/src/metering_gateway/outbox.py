"""Where every measure stands from before it is first sent until the platform's 201: SQLite, durable at every return."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from metering_gateway.domain.answers import Answer
from metering_gateway.domain.measures import (
    Measure,
    StoredMeasure,
    require_timestamp,
    require_utf8,
    sensor_values_json,
)
from metering_gateway.sql import load, named_queries

_QUERIES = named_queries("queries.sql")
_LOOK_AHEAD = 400  # how many of the oldest are looked at to fill one request
_ANSWER_CHARACTERS = 4_000  # of an answer are kept beside what it refused
_LOCK_SECONDS = 30.0  # another process of this gateway may be writing


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


class Outbox:
    """One file, safe for several processes. Methods that change it return only after the change is on the disk.

    Raises sqlite3.Error when the disk is full or broken: then nothing of the call was stored.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        path.chmod(0o600)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(load("schema.sql"))

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is called inside it; may be nested, the outermost decides."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # a full disk may have ended it already
            self._db.execute("ROLLBACK")

    def store(self, measures: Iterable[Measure], stamp: LocalStamp | None = None) -> int:
        """How many were stored. A `stamp` says that their timestamps are by a clock that is yet to be corrected.

        Raises UnstorableMeasureError if one cannot be written as the published JSON; then none is stored.
        """
        with self.transaction():
            counts = Counter[str]()
            for measure in measures:
                counts["stored_measures"] += 1
                counts["stored_values"] += self._store_one(measure, stamp)
            self.count(counts)
        return counts["stored_measures"]

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
        rows = self._db.execute(_QUERIES["due"], {"now_ms": now_ms, "limit": limit})
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
        with self.transaction():
            self._db.executemany(_QUERIES["delete"], [{"id": measure.id} for measure in measures])
            for number in {measure.device_number for measure in measures}:
                self._do("known", number=number)
            if location is not None:
                self._do("await_result", location=location, value_count=values, now_ms=now_ms)
            self.count({"sent_measures": len(measures), "sent_values": values, **warnings})

    def refuse(self, measure: StoredMeasure, answer: Answer, now_ms: int) -> None:
        """Keeps the one measure at fault with the answer, out of the way of the others."""
        text = answer.text[:_ANSWER_CHARACTERS]
        with self.transaction():
            self._do("refuse", id=measure.id, status=answer.status, answer=text, now_ms=now_ms)
            self._do("delete", id=measure.id)

    def take_out(self, numbers: Sequence[str], answer: Answer, now_ms: int, retry_at_ms: int) -> None:
        """Keeps the measures of devices that the platform does not know until `retry_at_ms`."""
        row = {"answer": answer.text[:_ANSWER_CHARACTERS], "now_ms": now_ms, "retry_at_ms": retry_at_ms}
        with self.transaction():
            for number in numbers:
                self._do("take_out", number=number, **row)

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

    def account(self) -> Counter[str]:
        """All figures since the outbox was made, and what stands in it now."""
        with self.transaction():
            figures = Counter[str]({row["name"]: row["count"] for row in self._db.execute(_QUERIES["account"])})
            row = self._db.execute(_QUERIES["waiting"]).fetchone()
            now = {"refused": self._number("refused_count"), "awaiting_result": self._number("awaiting_result")}
            return figures + Counter(waiting=row["waiting"], unknown=row["unknown"], **now)

    def pending_by_device(self) -> list[dict[str, object]]:
        return [dict(row) for row in self._db.execute(_QUERIES["pending_by_device"])]

    def refused(self, limit: int) -> list[dict[str, object]]:
        rows = self._db.execute(_QUERIES["refused"], {"limit": limit})
        return [dict(row) | {"sensor_values": json.loads(row["sensor_values"])} for row in rows]

    def results_due(self) -> list[tuple[str, int]]:
        """(location, values) of each batch whose result is still to be read, oldest first."""
        return [tuple(row) for row in self._db.execute(_QUERIES["results_due"])]

    def result_read(self, location: str, figures: Mapping[str, int]) -> None:
        with self.transaction():
            if self._do("result_read", location=location):
                self.count(figures)

    def replay(self, source: str) -> ReplayProgress | None:
        row = self._db.execute(_QUERIES["replay"], {"source": source}).fetchone()
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
        return self._db.execute(_QUERIES[query], parameters).rowcount

    def _number(self, query: str) -> int:
        return self._one(query) or 0

    def _one(self, query: str, **parameters: object) -> int | None:
        row = self._db.execute(_QUERIES[query], parameters).fetchone()
        return None if row is None or row[0] is None else int(row[0])
