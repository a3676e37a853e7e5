"""The audit: who did what, when, from where, and what it was before and after; written with the act, never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from metering_auth.adapters.postgres.rows import Connection
from metering_auth.domain.actor import Actor
from metering_common.postgres.queries import load_queries

QUERIES = load_queries("metering_auth", "sql/audit.sql")

Facts = dict[str, Any] | None
Act = tuple[str, Facts, Facts]
"""Subject, before, after."""


@dataclass(frozen=True)
class AuditFilter:
    """Which events are listed; an absent one does not restrict."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100


async def record(
    connection: Connection, actor: Actor, action: str, subject: str, *, before: Facts = None, after: Facts = None
) -> None:
    """One event, in the transaction of the act itself. `subject` is a registry key such as `gateway:2`."""
    await connection.execute(
        QUERIES.record_event, actor.name, action, subject, actor.origin, _json(before), _json(after)
    )


async def record_all(connection: Connection, actor: Actor, action: str, acts: Sequence[Act]) -> None:
    """As `record`, for many subjects of one action."""
    if acts:
        subjects, before, after = zip(*((subject, _json(was), _json(now)) for subject, was, now in acts), strict=True)
        await connection.execute(QUERIES.record_events, actor.name, action, actor.origin, subjects, before, after)


async def events(connection: Connection, chosen: AuditFilter) -> list[dict[str, Any]]:
    """The newest events that match, oldest of them first."""
    rows = await connection.fetch(
        QUERIES.events, chosen.actor, chosen.action, chosen.subject, chosen.since, chosen.until, chosen.limit
    )
    return [
        {
            **dict(row),
            "before": row["before"] and orjson.loads(row["before"]),
            "after": row["after"] and orjson.loads(row["after"]),
        }
        for row in reversed(rows)
    ]


def _json(facts: Facts) -> str | None:
    return None if facts is None else orjson.dumps(facts, default=str).decode()
