"""What people see of the client: progress and notices on stderr, the result on stdout, for programs as JSON."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from metering_gateway.domain.claims import Claims
from metering_gateway.notices import Notice
from metering_gateway.outbox import Outbox
from metering_gateway.summary import Summary

_REFUSED_SHOWN = 100
_STYLES = {"trouble": "yellow", "refused": "red", "unknown-device": "red", "credentials": "red", "warning": "yellow"}
_ERRORS = Console(stderr=True, soft_wrap=True, highlight=False)
_OUTPUT = Console(soft_wrap=True, highlight=False)


def say(text: str) -> None:
    _ERRORS.print(escape(text))


def notice(notice: Notice) -> None:
    _ERRORS.print(f"[{_STYLES.get(notice.kind, 'dim')}]{notice.kind}[/]: {escape(notice.text)}")


class _Sent(ProgressColumn):
    """Read at each repaint: sending has no callback of its own."""

    def __init__(self, sent: Callable[[], int]) -> None:
        super().__init__()
        self._sent = sent

    def render(self, task: Task) -> Text:
        del task
        return Text(f"{self._sent()} measures sent")


@contextmanager
def progress(title: str, rows: int, sent: Callable[[], int], *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar of the file's rows as they are stored; gives the function that moves it. None without a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows stored,"))
    shown = not quiet and _ERRORS.is_terminal
    with Progress(*columns, _Sent(sent), TimeElapsedColumn(), console=_ERRORS, disable=not shown) as bar:
        task = bar.add_task(title, total=rows)
        yield lambda done: bar.update(task, completed=done)


def summary(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        _write(summary.document())
        return
    run = summary.run
    _OUTPUT.print(
        f"stored: {_count(run.stored_measures, 'measure')}, {_count(run.stored_values, 'value')}; "
        f"sent: {_count(run.sent_measures, 'measure')}, {_count(run.sent_values, 'value')} "
        f"in {_count(summary.requests, 'request')}{f', {summary.repeats} repeated' if summary.repeats else ''}"
    )
    if run.accepted or run.refused or run.not_taken or run.repeated or run.unread:
        _OUTPUT.print(
            f"result: {_count(run.accepted, 'value')} accepted, {run.refused} refused, {run.not_taken} not taken"
            f"{f', {run.repeated} repeated' if run.repeated else ''}"
            f"{f', {run.unread} not to be had' if run.unread else ''}"
        )
    if summary.awaiting_result:
        _OUTPUT.print(f"result of {_count(summary.awaiting_result, 'value')} still to come; the next run reads it")
    for rule, count in run.refused_per_rule.items():
        _OUTPUT.print(f"  refused by {escape(rule)}: {count}")
    if summary.waiting or summary.refused:
        _OUTPUT.print(
            f"in the outbox: {summary.waiting} waiting ({summary.unknown} of unknown devices), "
            f"{summary.refused} refused; see: metering-gateway outbox"
        )


def outbox(box: Outbox, *, as_json: bool) -> None:
    account, devices, refused = box.account(), box.pending_by_device(), box.refused(_REFUSED_SHOWN)
    if as_json:
        _write({"account": account, "devices": devices, "refused": refused})
        return
    _OUTPUT.print(
        f"{account['sent_measures']} sent, {account['waiting']} waiting ({account['unknown']} of unknown devices), "
        f"{account['refused']} refused, {account['forgotten_measures']} given up"
    )
    for device in devices:
        _OUTPUT.print(f"waits: {escape(_device_line(device))}")
    for row in refused:
        answer = f"{row['status']} {row['answer']}"
        _OUTPUT.print(f"refused: {escape(str(row['device_number']))} at {row['timestamp']}: {escape(answer)}")


def table_check(description: dict[str, object], measures: list[dict[str, object]], *, as_json: bool) -> None:
    """How a file of comma-separated values was understood."""
    if as_json:
        _write({"file": description, "measures": measures})
        return
    for name, found in description.items():
        _OUTPUT.print(f"{name}: {escape(repr(found))}")
    for measure in measures:
        values = json.dumps(measure["values"], ensure_ascii=False)
        at = f"{_moment(int(str(measure['timestamp'])))} ({measure['timestamp']})"
        _OUTPUT.print(f"{escape(str(measure['deviceNumber']))} at {at}: {escape(values)}")


def health(health: dict[str, object], *, as_json: bool) -> None:
    """How the daemon does."""
    if as_json:
        _write(health)
        return
    state = "runs" if health["running"] else f"does not answer since {health['age_seconds']} s"
    _OUTPUT.print(f"the daemon {state}; {health['trouble'] or 'it can send'}")
    sources = health["sources"]
    for name, trouble in sources.items() if isinstance(sources, dict) else ():
        _OUTPUT.print(f"{escape(name)}: {escape(trouble or 'is read')}")
    figures = ("sent", "waiting", "unknown", "refused", "dropped")
    _OUTPUT.print(", ".join(f"{health[name]} {name}" for name in figures))


def findings(found: list[tuple[str, str, str]], *, as_json: bool) -> None:
    """(rule, outcome, detail) of each check of a client."""
    if as_json:
        _write([{"rule": rule, "outcome": outcome, "detail": detail} for rule, outcome, detail in found])
        return
    for rule, outcome, detail in found:
        style = {"right": "green", "wrong": "red"}.get(outcome, "dim")
        _OUTPUT.print(f"[{style}]{outcome:8}[/] {escape(rule)}{escape(f': {detail}') if detail else ''}")


def token(claims: Claims, *, as_json: bool) -> None:
    if as_json:
        _write({"provider": claims.provider, "gateway": claims.gateway, "expiresAt": claims.expires_at})
        return
    expires = datetime.fromtimestamp(claims.expires_at, UTC)
    _OUTPUT.print(
        f"gateway {claims.gateway} of provider {claims.provider}, to be used before {expires:%Y-%m-%d %H:%M}Z"
    )


def device(document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        _write(document)
        return
    table = Table("sensor", "alias", "unit", title=f"device {document.get('number')} (id {document.get('id')})")
    for sensor in document.get("sensors", []):
        table.add_row(*(escape(str(sensor.get(name, ""))) for name in ("name", "alias", "unit")))
    _OUTPUT.print(table)


def _device_line(row: dict[str, Any]) -> str:
    held = f"{row['device_number']}: {_count(row['measures'], 'measure')}, "
    held += f"{_moment(row['first'])} to {_moment(row['last'])}"
    return held + (f"; unknown, tried again {_moment(row['retry_at_ms'] // 1000)}" if row["unknown"] else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _moment(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def _write(document: Any) -> None:
    json.dump(document, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")
