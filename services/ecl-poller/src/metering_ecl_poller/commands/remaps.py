"""metering-ecl remap: what the portal answered is mapped again after the dialect or the mapping was mended."""

import argparse
from datetime import UTC, datetime
from typing import Any

from metering_ecl_poller.adapters.kafka.answer_archive import kept_answers
from metering_ecl_poller.application.remapping import (
    MASTER_DATA_BEFORE_MS,
    LostKeys,
    RemapOrder,
    Remapping,
    RemapResult,
)
from metering_ecl_poller.commands.session import (
    CommandResult,
    EclCommandError,
    Parsers,
    ToolSession,
    add_command,
    moment_argument,
    shown_time,
)

MOST_SHOWN = 20


def register(groups: Parsers) -> None:
    remap = add_command(groups, "remap", _remap, "map kept answers again with the mapping that applies now")
    remap.add_argument("serials", nargs="*", help="all controllers when none is named")
    remap.add_argument("--from", dest="from_ms", type=moment_argument, required=True, help="answers received since")
    remap.add_argument("--to", dest="to_ms", type=moment_argument, required=True, help="answers received until")
    remap.add_argument("--dry-run", action="store_true", help="only count and list")
    remap.add_argument(
        "--mark-lost",
        action="store_true",
        help="give keys that the new mapping no longer writes the sensor's fault value (quality 3)",
    )


async def _remap(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    if given.to_ms <= given.from_ms:
        raise EclCommandError("--to must be later than --from")
    context, store = await session.context(), await session.controllers()
    order = RemapOrder(
        from_ms=given.from_ms,
        to_ms=given.to_ms,
        only=frozenset(await session.serials(given.serials)) if given.serials else frozenset(),
        send=not given.dry_run,
        mark=given.mark_lost,
    )
    registry = context.replica.registry.sensors.values()
    sensors = {sensor.alias: sensor for sensor in registry if sensor.alias} | {one.name: one for one in registry}
    with session.progress() as progress:
        bar = progress.add_task("mapping again", total=None)
        answers = kept_answers(
            session.settings.kafka,
            order.from_ms - MASTER_DATA_BEFORE_MS,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
        result = await Remapping(store, context.publisher, context.dialect, sensors, order).run(answers)
    return CommandResult(_value(result), _text_for(result), failed=bool(result.unreadable))


def _value(result: RemapResult) -> dict[str, Any]:
    return {
        "answers": result.answers,
        "records": result.records,
        "values": result.values,
        "readsWithoutTarget": result.unmapped,
        "unreadable": result.unreadable,
        "noLongerWritten": [_lost(lost) for lost in result.lost],
    }


def _lost(lost: LostKeys) -> dict[str, Any]:
    return {
        "serial": lost.serial,
        "provider": lost.target.provider,
        "deviceNumber": lost.target.number,
        "sensor": lost.target.sensor,
        "count": len(lost.stamps),
        "from": shown_time(datetime.fromtimestamp(min(lost.stamps), UTC)),
        "to": shown_time(datetime.fromtimestamp(max(lost.stamps), UTC)),
        "marked": lost.marked,
    }


def _text_for(result: RemapResult) -> str:
    lines = [f"{result.answers} answers mapped again: {result.records} records, {result.values} values"]
    if result.unmapped:
        lines.append(f"{result.unmapped} reads have no target: not mapped, or the device is not registered")
    lines += [f"cannot be read: {what}" for what in result.unreadable[:MOST_SHOWN]]
    for lost in map(_lost, result.lost):
        marked = "marked as faulty" if lost["marked"] else "not marked"
        where = f"{lost['deviceNumber']} {lost['sensor']}"
        lines.append(f"no longer written: {where}, {lost['count']} from {lost['from']} to {lost['to']}, {marked}")
    return "\n".join(lines)
