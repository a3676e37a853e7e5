"""Opens the outbox's database; one that is damaged is set aside, and what can be read of it goes into a new one."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metering_gateway.sql import load

LOCK_SECONDS = 5.0  # another process of this gateway may be writing
_DAMAGED_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PROBED = ("device", "measure", "refused", "account", "result_due", "replay", "memory")
_LOG_PAGES = 128  # a small log: on a full disk its file is used again and again, and the reserve is larger than it
_COMPANIONS = ("", "-wal", "-shm")
_MOST_SINGLE_READS = 2_000_000  # rows between two readable ends that are tried one by one


class OutboxDamagedError(Exception):
    """The outbox's file is damaged; whoever opens it next sets it aside and begins a new one."""


@dataclass(frozen=True, slots=True)
class Salvage:
    """What became of a damaged outbox: where it lies now, and how many measures were read from it."""

    set_aside: Path
    measures: int
    refused: int

    def text(self) -> str:
        found = f"{self.measures} waiting and {self.refused} refused measures were read from it"
        return f"the outbox was damaged; it now lies in {self.set_aside}, {found} into a new one"


def is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED_CODES


def damage_mark(path: Path) -> Path:
    """A file beside the outbox that says: damage was met while it was in use."""
    return path.with_name(f"{path.name}.damaged")


def open_database(path: Path) -> tuple[sqlite3.Connection, Salvage | None]:
    """Raises sqlite3.Error when the disk is full or broken, or another process holds the file too long."""
    salvage = None
    if damage_mark(path).exists():
        salvage = _salvage(path)
    try:
        return _opened(path), salvage
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    salvage = _salvage(path)
    return _opened(path), salvage


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        database.row_factory = sqlite3.Row
        path.chmod(0o600)
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only a new file takes it
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        database.execute("PRAGMA foreign_keys = ON")
        database.executescript(load("schema.sql"))
        _probe(database)
    except BaseException:
        database.close()
        raise
    return database


def _probe(database: sqlite3.Connection) -> None:
    """Reads both ends of every table: cheap on any size, and finds a file that lost its beginning or its end."""
    for table in _PROBED:
        for order in ("ASC", "DESC"):
            database.execute(f"SELECT * FROM {table} ORDER BY rowid {order} LIMIT 1").fetchall()  # noqa: S608  our names


def _salvage(path: Path) -> Salvage:
    aside = _set_aside(path)
    damage_mark(path).unlink(missing_ok=True)
    source = sqlite3.connect(f"file:{aside}", uri=True)
    target = _opened(path)
    try:
        target.execute("BEGIN IMMEDIATE")
        counts = _copy(source, target)
        target.execute("COMMIT")
    finally:
        source.close()
        target.close()
    return Salvage(aside, counts["measure"], counts["refused"])


def _set_aside(path: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.stem}-damaged-{stamp}{path.suffix}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.stem}-damaged-{stamp}-{number}{path.suffix}")
    for companion in _COMPANIONS:
        beside = path.with_name(path.name + companion)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + companion))
    return aside


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> Counter[str]:
    """Copies each readable row of what may still be sent; the new account begins with them as stored."""
    counts = Counter[str]()
    devices = {row["id"] for row in _copied(source, target, "device")}
    for table in ("measure", "refused"):
        for row in _readable(source, table):
            if _is_whole(row, devices):
                _insert(target, table, row)
                counts[table] += 1
                counts["stored_values"] += row["value_count"]
    list(_copied(source, target, "replay"))
    figures = {"stored_measures": counts["measure"] + counts["refused"], "stored_values": counts["stored_values"]}
    target.executemany("INSERT INTO account (name, count) VALUES (?, ?)", [(n, c) for n, c in figures.items() if c])
    return counts


def _copied(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> Iterator[dict[str, Any]]:
    for row in _readable(source, table):
        _insert(target, table, row)
        yield row


def _is_whole(row: dict[str, Any], devices: set[int]) -> bool:
    try:
        json.loads(row["sensor_values"])
    except (ValueError, TypeError):
        return False
    return row["device_id"] in devices and isinstance(row["timestamp"], int)


def _insert(target: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" * len(row))
    query = f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({marks})"  # noqa: S608  names of our schema
    target.execute(query, tuple(row.values()))


def _readable(source: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    """From the first row until the damage, from the last one back to it, and what lies between one by one."""
    query = f"SELECT rowid, * FROM {table}"  # noqa: S608  a name of our schema
    first, last = _scan(source, f"{query} ORDER BY rowid"), _scan(source, f"{query} ORDER BY rowid DESC")
    found = dict((*first, *last))
    if first and last:
        low, high = first[-1][0] + 1, last[-1][0]
        for number in range(low, min(high, low + _MOST_SINGLE_READS)):
            found.update(_scan(source, f"{query} WHERE rowid = {number}"))
    return [found[number] for number in sorted(found)]


def _scan(source: sqlite3.Connection, query: str) -> list[tuple[int, dict[str, Any]]]:
    """(row number, columns) of each row until the first that cannot be read."""
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        cursor = source.execute(query)
        names = [column[0] for column in cursor.description][1:]
        rows.extend((values[0], dict(zip(names, values[1:], strict=True))) for values in cursor)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        pass
    return rows
