"""metering-admin device import and export: files of devices, with a progress bar."""

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from metering_auth.adapters.postgres import device_import
from metering_auth.adapters.postgres.device_import import ImportReport
from metering_auth.commands.session import Answer, CommandError, Session
from metering_auth.domain.device_lines import COLUMNS, SEPARATOR

FORMAT = f"CSV with the columns {', '.join(COLUMNS)}; only the number is needed; lists are separated by {SEPARATOR}"


async def import_file(session: Session, given: argparse.Namespace) -> Answer:
    """Every bad line is told with its number; unless --partial, one is enough to change nothing."""
    lines = _count_lines(given.file)
    with _progress(quiet=session.quiet) as bar, given.file.open(encoding="utf-8-sig", newline="") as file:
        tasks = {what: bar.add_task(what, total=lines) for what in ("reading", "taking")}
        report = await device_import.import_devices(
            session.connection,
            session.actor,
            given.provider,
            file,
            partial=given.partial,
            progress=lambda what, done: bar.advance(tasks[what], done),
        )
    return Answer(asdict(report), _told(report), failed=not report.imported)


async def export_file(session: Session, given: argparse.Namespace) -> Answer:
    """UTF-8, names of sensors instead of ids."""
    try:
        with given.file.open("w", encoding="utf-8", newline="") as file:
            count = await device_import.export_devices(session.connection, given.provider, file)
    except OSError as error:
        raise CommandError(f"{given.file} cannot be written: {error.strerror}") from error
    return Answer({"exported": count}, f"{count} devices in {given.file}")


def _count_lines(path: Path) -> int:
    """How many devices the file has at most, for the bar."""
    try:
        with path.open("rb") as file:
            lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error
    return max(0, lines - 1)


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), disable=quiet)


def _told(report: ImportReport) -> str:
    faults = [f"line {fault.line}: {fault.reason}" for fault in report.faults]
    if not report.imported:
        return "\n".join([*faults, f"nothing was changed: {len(faults)} of {report.read} lines are bad"])
    done = f"{report.added} added, {report.changed} changed, {report.unchanged} as they were, {len(faults)} bad lines"
    return "\n".join([*faults, done])
