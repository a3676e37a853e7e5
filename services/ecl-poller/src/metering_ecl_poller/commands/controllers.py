"""metering-ecl controller …: which controllers are asked, and whether their codes still open them."""

import argparse
import csv
import getpass
import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from metering_ecl_poller.adapters.portal.address import AddressError, base_url
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.commands.session import (
    CommandResult,
    EclCommandError,
    Parsers,
    ToolSession,
    add_command,
    shown_time,
)
from metering_ecl_poller.domain.job import PollJob
from metering_ecl_poller.domain.mapping import SERIAL
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.errors import PortalError

COLUMNS = ("serial", "portal", "serverCode", "accessCode")


def register(groups: Parsers) -> None:
    commands = groups.add_parser("controller", help="which controllers are asked").add_subparsers(required=True)
    add = add_command(commands, "add", _add, "add a controller, or give a known one new codes")
    add.add_argument("serial", nargs="?", help="the controller's serial number")
    add.add_argument("--portal", default="dk", help="dk, com, or a base URL (https, or http on this machine)")
    add.add_argument("--file", type=Path, help=f"instead: a CSV file with the columns {', '.join(COLUMNS)}")
    add_command(commands, "list", _list, "list the controllers")
    test = add_command(commands, "test", _test, "ask a controller's master data; one that was denied is asked again")
    test.add_argument("serials", nargs="*", help="all when none is named")
    add_command(commands, "rewrap", _rewrap, "seal all codes under ECL_KEY_ENCRYPTION_KEY, opened with …_PREVIOUS")
    for name, run, sentence in (
        ("remove", _remove, "forget it: codes, mapping, cursors and gaps; what was published stays"),
        ("disable", _disable, "ask it no more"),
        ("enable", _enable, "ask it again, within a minute; everything the portal still has is fetched"),
    ):
        add_command(commands, name, run, sentence).add_argument("serial")


async def _add(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    accounts = _from_file(given.file) if given.file else [_from_arguments(session, given)]
    dialect = load_dialect(session.settings.dialect_file)
    for account in accounts:
        if not SERIAL.fullmatch(account.serial):
            raise EclCommandError(f"{account.serial!r} is no serial number: up to ten digits")
        try:
            base_url(account.portal, dialect)
        except AddressError as error:
            raise EclCommandError(str(error)) from None
    store = await session.controllers()
    added = [await store.add(account, session.clock.now_ms()) for account in accounts]
    value = {"added": sum(added), "changed": len(added) - sum(added)}
    return CommandResult(value, f"{value['added']} added, {value['changed']} given new codes")


def _from_arguments(session: ToolSession, given: argparse.Namespace) -> PortalAccount:
    """The codes come from the environment or are asked for: arguments would show them in the list of processes."""
    if given.serial is None:
        raise EclCommandError("a serial number or --file is needed")
    codes = [
        _code(known, f"{what} code: ")
        for known, what in ((session.settings.server_code, "Server"), (session.settings.access_code, "Access"))
    ]
    return PortalAccount(given.portal, given.serial, *codes)


def _code(known: SecretStr | None, prompt: str) -> str:
    if known is not None:
        return known.get_secret_value()
    if not sys.stdin.isatty():
        raise EclCommandError("ECL_SERVER_CODE and ECL_ACCESS_CODE must be set where nobody can be asked")
    return getpass.getpass(prompt)


def _from_file(path: Path) -> list[PortalAccount]:
    """Takes what spreadsheets write: UTF-8 with or without a BOM, or cp1252; `,` or `;`. Raises `EclCommandError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EclCommandError(f"{path} cannot be read: {error.strerror}") from None
    reader = csv.reader(_decoded(content).splitlines(), delimiter=_delimiter(content))
    rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(reader, start=1) if any(row)]
    header = rows[0][1] if rows else []
    if missing := [name for name in COLUMNS if name not in header]:
        raise EclCommandError(
            f"{path}: the first line lacks {', '.join(missing)}; its columns are {', '.join(COLUMNS)}"
        )
    return [_from_row(path, number, dict(zip(header, row, strict=False))) for number, row in rows[1:]]


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _delimiter(content: bytes) -> str:
    header = content.partition(b"\n")[0]
    return ";" if header.count(b";") > header.count(b",") else ","


def _from_row(path: Path, number: int, row: dict[str, str]) -> PortalAccount:
    if missing := [name for name in COLUMNS if not row.get(name)]:
        raise EclCommandError(f"{path}, line {number}: {', '.join(missing)} is missing; nothing was added")
    return PortalAccount(*(row[name] for name in ("portal", "serial", "serverCode", "accessCode")))


async def _list(session: ToolSession, _given: argparse.Namespace) -> CommandResult:
    return CommandResult([controller_value(row) for row in await (await session.controllers()).controllers()])


def controller_value(row: Any) -> dict[str, Any]:
    """A controller as --json shows it; no code is among it."""
    return {
        "serial": row["serial"],
        "portal": row["portal"],
        "enabled": row["enabled"],
        "state": row["state"],
        "reason": row["reason"],
        "name": row["name"],
        "mappingVersion": row["mapping_version"],
        "polledAt": shown_time(row["polled_at"]),
        "nextDue": shown_time(row["next_due"]),
    }


async def _test(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    store, context = await session.controllers(), await session.context()
    results = []
    for serial in await session.serials(given.serials):
        account = await store.account(serial)
        job = PollJob(
            account=account,
            lease=0,
            attempts=0,
            state="new",
            clock_state=None,
            clock_offset_ms=None,
            mapping=None,
            mapping_version=0,
        )
        try:
            master = await context.portal_for(job).master_data(account)
        except PortalError as error:
            results.append({"serial": serial, "opens": False, "reason": str(error)})
            continue
        await store.readmit(serial, session.clock.now_ms())
        results.append({"serial": serial, "opens": True, "name": master.name, "devices": len(master.devices)})
    return CommandResult(results, failed=not all(one["opens"] for one in results))


async def _rewrap(session: ToolSession, _given: argparse.Namespace) -> CommandResult:
    rewrapped = await (await session.controllers()).rewrap()
    return CommandResult({"rewrapped": rewrapped}, f"{rewrapped} controllers' codes are now under the new master key")


async def _remove(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    await (await session.controllers()).remove(given.serial)
    return CommandResult({"serial": given.serial, "removed": True}, f"{given.serial} is removed")


async def _disable(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    await (await session.controllers()).disable(given.serial)
    return CommandResult({"serial": given.serial, "enabled": False}, f"{given.serial} is asked no more")


async def _enable(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    await (await session.controllers()).enable(given.serial, session.clock.now_ms())
    return CommandResult({"serial": given.serial, "enabled": True}, f"{given.serial} is asked again, within a minute")
