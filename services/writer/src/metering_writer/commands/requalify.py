"""`metering-writer requalify`: the dictionary's ranges and fault values of today, applied to what is stored."""

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from metering_common.postgres import pool as postgres
from metering_common.service.clock import SystemClock
from metering_writer.adapters.requalifying import Changes, Range, Requalifier, UnknownTargetError, find_range
from metering_writer.commands.replay import instant
from metering_writer.settings import ToolSettings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  argparse has no other name for it

NOT_FOUND = 1  # exit status
QUALITIES = ("good", "implausible", "clock doubtful", "sensor fault")


def add_to(commands: "Commands") -> None:
    """`requalify`."""
    parser = commands.add_parser(
        "requalify", help="apply today's ranges and fault values to stored values (a dry run without --apply)"
    )
    parser.add_argument("--device", type=int, required=True, help="the platform's id of the device")
    parser.add_argument("--sensor", required=True, help="id, name or alias in the dictionary")
    parser.add_argument("--from", dest="since", type=instant, required=True, help="measured at or after, ISO 8601")
    parser.add_argument("--to", dest="upto", type=instant, required=True, help="measured before, ISO 8601")
    parser.add_argument("--apply", action="store_true", help="do it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(handle=requalify)


async def requalify(settings: ToolSettings, asked: argparse.Namespace, out: TextIO) -> int:
    """Safe to repeat, and to break off: each day is a transaction of its own."""
    async with postgres.pool(settings.database_url, application_name="metering-writer-cli") as pool:
        try:
            chosen = await find_range(pool, asked.device, asked.sensor, asked.since, asked.upto)
        except UnknownTargetError as unknown:
            out.write(f"{unknown}\n")
            return NOT_FOUND
        requalifier = Requalifier(pool, SystemClock())
        changes = await (requalifier.apply(chosen) if asked.apply else requalifier.count(chosen))
    lines = _as_json(chosen, changes, asked) if asked.json else _as_text(chosen, changes, asked)
    out.writelines(f"{line}\n" for line in lines)
    return 0


def _as_text(chosen: Range, changes: Changes, asked: argparse.Namespace) -> Iterator[str]:
    yield f"device {chosen.device} ({chosen.provider} {chosen.number}), sensor {chosen.sensor} ({chosen.sensor_name})"
    for (old, new), count in sorted(changes.items()):
        yield f"{count} values from quality {old} ({QUALITIES[old]}) to {new} ({QUALITIES[new]})"
    total = sum(changes.values())
    if asked.apply:
        yield f"{total} values changed; what they were is in measurement_correction"
    else:
        yield f"dry run: {total} values would change; add --apply"


def _as_json(chosen: Range, changes: Changes, asked: argparse.Namespace) -> Iterator[str]:
    counts = [{"from": old, "to": new, "count": count} for (old, new), count in sorted(changes.items())]
    yield json.dumps({"device": chosen.device, "sensor": chosen.sensor, "applied": asked.apply, "changes": counts})
