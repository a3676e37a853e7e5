"""metering-admin key … and restore …: what signs tokens, and what to do when keys or backups go wrong."""

import argparse
from datetime import UTC, datetime
from typing import Any

from metering_auth.adapters.postgres import audit
from metering_auth.adapters.postgres.key_lifecycle import KeyLifecycle, list_keys
from metering_auth.adapters.postgres.revocation import wait_published
from metering_auth.adapters.postgres.rows import one_row
from metering_auth.adapters.postgres.signing_keys import QUERIES
from metering_auth.commands.owner_commands import NOT_PUBLISHED, PUBLISH_SECONDS
from metering_auth.commands.session import Answer, CommandError, Parsers, Session, add_command, instant
from metering_auth.domain.plain import as_camel
from metering_common.registry.documents import KeyState


def register(groups: Parsers) -> None:
    keys = groups.add_parser("key", help="what signs tokens").add_subparsers(required=True)
    add_command(keys, "list", _list, "list all keys with their states and times")
    add_command(keys, "rotate", _rotate, "publish a new key; it signs once every replica of ingest-api knows it")
    withdraw = add_command(keys, "withdraw", _withdraw, "end all access tokens a key has signed, at once")
    withdraw.add_argument("kid")
    add_command(keys, "rewrap", _rewrap, "seal private parts under AUTH_KEY_ENCRYPTION_KEY, opened with …_PREVIOUS")
    restore = groups.add_parser("restore", help="after a restored backup").add_subparsers(required=True)
    opening = add_command(restore, "open", _open, "let in well-signed refresh tokens issued since the backup")
    opening.add_argument("--backup-at", type=instant, required=True, help="ISO 8601 with zone")
    add_command(restore, "close", _close, "refuse unknown tokens again")
    add_command(restore, "status", _status, "whether unknown tokens are let in")


async def _list(session: Session, _given: argparse.Namespace) -> Answer:
    keys = [{as_camel(name): value for name, value in key.items()} for key in await list_keys(session.connection)]
    return Answer(keys, rows=[_line(key) for key in keys])


def _line(key: dict[str, Any]) -> dict[str, Any]:
    """A key as a line of a table: since when it is in its state, and until when ingest-api trusts it."""
    since = key["createdAt"] if key["state"] == KeyState.PUBLISHED else key[f"{key['state']}At"]
    until = key["acceptUntil"] and datetime.fromtimestamp(key["acceptUntil"], UTC)
    shown = {"kid": key["kid"], "state": key["state"], "since": since, "acceptedUntil": until}
    return shown | {"masterKey": key["masterKeyId"]}


async def _rotate(session: Session, _given: argparse.Namespace) -> Answer:
    kid = await _lifecycle(session).rotate(session.connection, session.actor)
    settings = session.store_settings()
    return Answer(
        {"kid": kid}, f"{kid} is published; it signs {settings.key_publish_seconds:g} s after it was announced"
    )


async def _withdraw(session: Session, given: argparse.Namespace) -> Answer:
    instead = await _lifecycle(session).withdraw(session.connection, session.actor, given.kid)
    published = await wait_published(session.connection, f"key:{given.kid}", PUBLISH_SECONDS)
    value = {"kid": given.kid, "signsInstead": instead, "published": published}
    return Answer(value, "done" if published else NOT_PUBLISHED, failed=not published)


async def _rewrap(session: Session, _given: argparse.Namespace) -> Answer:
    rewrapped = await _lifecycle(session).rewrap(session.connection, session.actor)
    return Answer({"rewrapped": rewrapped}, f"{rewrapped} private parts sealed again")


async def _open(session: Session, given: argparse.Namespace) -> Answer:
    """From the backup's time until now: what was issued later is known to this database."""
    now = await session.connection.fetchval(QUERIES.now, None)
    if given.backup_at > now:
        raise CommandError("--backup-at lies in the future")
    return await _set_window(session, "restore.opened", given.backup_at, now)


async def _close(session: Session, _given: argparse.Namespace) -> Answer:
    return await _set_window(session, "restore.closed", None, None)


async def _status(session: Session, _given: argparse.Namespace) -> Answer:
    row = await one_row(session.connection, QUERIES.restore_window)
    return Answer(
        {"open": row["backup_at"] is not None, "backupAt": row["backup_at"], "restoredAt": row["restored_at"]}
    )


async def _set_window(
    session: Session, action: str, backup_at: datetime | None, restored_at: datetime | None
) -> Answer:
    async with session.connection.transaction():
        before = dict(await one_row(session.connection, QUERIES.restore_window))
        await session.connection.execute(QUERIES.set_restore_window, backup_at, restored_at)
        after = {"backup_at": backup_at, "restored_at": restored_at}
        await audit.record(session.connection, session.actor, action, "restore", before=before, after=after)
    return Answer({"open": backup_at is not None, "backupAt": backup_at, "restoredAt": restored_at})


def _lifecycle(session: Session) -> KeyLifecycle:
    settings = session.store_settings()
    return KeyLifecycle(settings.keyring(), settings.key_times())
