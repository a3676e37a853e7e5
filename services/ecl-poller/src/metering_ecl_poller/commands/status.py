"""metering-ecl status: the state of each controller, its clock, and what is missing for good."""

import argparse
from collections import Counter
from typing import Any

from metering_ecl_poller.commands.controllers import controller_value
from metering_ecl_poller.commands.session import CommandResult, Parsers, ToolSession, add_command, shown_time

MINUTE_MS = 60_000
MOST_SHOWN = 20  # of each kind, for people; --json has all


def register(groups: Parsers) -> None:
    status = add_command(groups, "status", _status, "show the state of each controller and what is missing")
    status.add_argument("serial", nargs="?", help="all when none is named")


async def _status(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    store = await session.controllers()
    if given.serial is not None:
        await session.serials([given.serial])
    controllers = [_controller(row) for row in await store.controllers(given.serial)]
    held = await store.held(given.serial)
    devices = [_device(row, held) for row in await store.devices(given.serial)]
    gaps = [_gap(row) for row in await store.gaps(given.serial)]
    counts = Counter(one["state"] if one["enabled"] else "disabled" for one in controllers)
    value = {"counts": dict(counts), "controllers": controllers, "devices": devices, "gaps": gaps}
    return CommandResult(value, _text_for(value))


def _controller(row: Any) -> dict[str, Any]:
    behind = row["clock_offset_ms"]
    return controller_value(row) | {
        "failuresInARow": row["attempts"],
        "application": row["application"],
        "softwareBuild": row["software_build"],
        "timeZone": row["time_zone"],
        "clock": row["clock_state"],
        "clockBehindMinutes": None if behind is None else round(behind / MINUTE_MS),
    }


def _device(row: Any, held: list[Any]) -> dict[str, Any]:
    return {
        "serial": row["serial"],
        "externalDeviceId": row["device"],
        "type": row["type"],
        "name": row["name"],
        "active": row["active"],
        "portalReadAt": shown_time(row["last_read"]),
        "newestSample": shown_time(row["newest"]),
        "goneSince": shown_time(row["gone_since"]),
        "problem": row["problem"],
        "held": [_held(one) for one in held if (one["serial"], one["device"]) == (row["serial"], row["device"])],
    }


def _held(row: Any) -> dict[str, Any]:
    """Channels that wait for one reason. `publishedUntil` null: nothing of them was published yet."""
    return {
        "channels": row["channels"],
        "since": shown_time(row["since"]),
        "publishedUntil": shown_time(row["resume"]),
        "reason": row["reason"],
    }


def _gap(row: Any) -> dict[str, Any]:
    return {
        "serial": row["serial"],
        "externalDeviceId": row["device"],
        "channels": row["channels"],
        "from": shown_time(row["from_at"]),
        "to": shown_time(row["to_at"]),
        "reason": row["reason"],
    }


def _text_for(value: dict[str, Any]) -> str:
    """What is well is counted, what is not is named."""
    counts = ", ".join(f"{count} {state}" for state, count in sorted(value["counts"].items()))
    lines = [f"controllers: {counts or 'none'}"]
    lines += _shown([_trouble(one) for one in value["controllers"] if _trouble(one)])
    lines += _shown([_device_trouble(one) for one in value["devices"] if _device_trouble(one)])
    lines.append(f"gaps: {len(value['gaps'])}")
    lines += _shown(
        [
            f"  {gap['serial']} {gap['externalDeviceId'][:8]}: {gap['from']} to {gap['to']}, {gap['reason']}"
            for gap in value["gaps"]
        ]
    )
    return "\n".join(lines)


def _shown(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_SHOWN
    return [*lines[:MOST_SHOWN], f"  and {more} more (--json has all)"] if more > 0 else lines


def _trouble(one: dict[str, Any]) -> str:
    clock = "" if one["clock"] in (None, "right") else f" clock {one['clock']}, {one['clockBehindMinutes']} min behind"
    reason = f" {one['state']}: {one['reason']}" if one["reason"] else ""
    return f"  {one['serial']}{clock}{reason}" if clock or reason else ""


def _device_trouble(one: dict[str, Any]) -> str:
    what = f"deleted on the portal, {one['goneSince']}" if one["goneSince"] else one["problem"]
    waits = [f"{len(held['channels'])} channels wait since {held['since']}" for held in one["held"]]
    reasons = "; ".join(filter(None, [what, *waits]))
    return f"  {one['serial']} {one['name']} ({one['externalDeviceId'][:8]}): {reasons}" if reasons else ""
