"""metering-admin registry … and audit: what was published, and who did what."""

import argparse
from typing import Any

from metering_auth.adapters.postgres import audit
from metering_auth.adapters.postgres.audit import AuditFilter
from metering_auth.adapters.postgres.documents import QUERIES
from metering_auth.adapters.postgres.outbox import Lane, change
from metering_auth.adapters.postgres.republish import republish
from metering_auth.adapters.postgres.rows import one_row
from metering_auth.commands.session import Answer, Parsers, Session, add_command, count, instant


def register(groups: Parsers) -> None:
    registry = groups.add_parser("registry", help="the published registry").add_subparsers(required=True)
    add_command(registry, "republish", _republish, "publish every document again, and remove what should not be there")
    add_command(registry, "compare", _compare, "let the relay compare topic and tables now")
    add_command(registry, "status", _status, "what waits to be published, and in which epoch")
    listing = add_command(groups, "audit", _audit, "list who did what, when, from where")
    listing.add_argument("--actor", help="who, exactly")
    listing.add_argument("--action", help="such as gateway.revoked; gateway.%% for all of gateways")
    listing.add_argument("--subject", help="such as gateway:2")
    listing.add_argument("--since", type=instant, help="ISO 8601 with zone")
    listing.add_argument("--until", type=instant, help="ISO 8601 with zone")
    listing.add_argument("--limit", type=count, default=100, help="how many of the newest")


async def _republish(session: Session, _given: argparse.Namespace) -> Answer:
    count = await republish(session.connection)
    async with session.connection.transaction():
        facts = {"documents": count}
        await audit.record(session.connection, session.actor, "registry.republished", "registry", after=facts)
    return Answer({"documents": count}, f"{count} documents wait to be published again")


async def _compare(session: Session, _given: argparse.Namespace) -> Answer:
    async with change(session.connection, Lane.FIRST):
        await session.connection.execute(QUERIES.request_comparison)
        await audit.record(session.connection, session.actor, "registry.comparison_requested", "registry")
    return Answer({"requested": True}, "the relay compares at its next turn; its log says what it found")


async def _status(session: Session, _given: argparse.Namespace) -> Answer:
    publication = await one_row(session.connection, QUERIES.publication)
    waiting = {row["lane"]: row["entries"] for row in await session.connection.fetch(QUERIES.outbox_depth)}
    value = {
        "epoch": publication["epoch"],
        "position": publication["end_position"],
        "comparedAt": publication["compared_at"],
        "waiting": {
            "first": waiting.get(Lane.FIRST, 0),
            "ordinary": waiting.get(Lane.ORDINARY, 0),
            "again": await session.connection.fetchval(QUERIES.again_depth),
        },
    }
    return Answer(value)


async def _audit(session: Session, given: argparse.Namespace) -> Answer:
    chosen = AuditFilter(
        actor=given.actor,
        action=given.action,
        subject=given.subject,
        since=given.since,
        until=given.until,
        limit=given.limit,
    )
    events = await audit.events(session.connection, chosen)
    return Answer(events, rows=[_line(event) for event in events])


def _line(event: dict[str, Any]) -> dict[str, Any]:
    """An event as a line of a table: of a change only what changed."""
    before, after = event["before"] or {}, event["after"] or {}
    changes = [name for name in after if before.get(name) != after[name]]
    what = [
        f"{name}: {before[name]} → {after[name]}" if name in before else f"{name}: {after[name]}" for name in changes
    ]
    kept = ("id", "at", "actor", "database_role", "action", "subject", "origin")
    return {name: event[name] for name in kept} | {"what": "; ".join(what).replace("\n", " ")}
