"""metering-admin device exchange …: when a register's meter was exchanged, and what the two meters read."""

import argparse
from datetime import UTC, datetime

from metering_auth.adapters.postgres import devices, sensors
from metering_auth.adapters.postgres.devices import ExchangeEntry
from metering_auth.commands.session import Answer, Parsers, Session, add_command, instant, registry_id
from metering_auth.domain.plain import as_plain


def register(commands: Parsers) -> None:
    """`device exchange add`, `list` and `remove`."""
    group = commands.add_parser("exchange", help="its registers' meter exchanges").add_subparsers(required=True)
    add = add_command(group, "add", _add, "note that a register's meter was exchanged")
    remove = add_command(group, "remove", _remove, "take an exchange back that was noted by mistake")
    for command in (add, remove):
        command.add_argument("id", type=registry_id, help="the platform's id of the device")
        command.add_argument("--sensor", required=True, help="the register's name or alias")
        command.add_argument("--at", type=instant, required=True, help="ISO 8601 with zone")
    add.add_argument("--closing", type=float, help="the old meter's last reading")
    add.add_argument("--opening", type=float, help="the new meter's first one; without it its first reading counts")
    add_command(group, "list", _list, "list them").add_argument("id", type=registry_id)


async def _add(session: Session, given: argparse.Namespace) -> Answer:
    entry = ExchangeEntry(
        sensor=given.sensor, at=int(given.at.timestamp()), closing=given.closing, opening=given.opening
    )
    device = await devices.add_exchange(session.connection, session.actor, given.id, entry)
    return Answer(as_plain(device), "done")


async def _remove(session: Session, given: argparse.Namespace) -> Answer:
    entry = ExchangeEntry(sensor=given.sensor, at=int(given.at.timestamp()))
    device = await devices.remove_exchange(session.connection, session.actor, given.id, entry)
    return Answer(as_plain(device), "done")


async def _list(session: Session, given: argparse.Namespace) -> Answer:
    names = {sensor.id: sensor.name for sensor in await sensors.sensors(session.connection)}
    device = await devices.device_by_id(session.connection, given.id)
    return Answer(
        [
            {
                "sensor": names[each.sensor],
                "at": datetime.fromtimestamp(each.at, UTC).isoformat(),
                "closing": each.closing,
                "opening": each.opening,
            }
            for each in device.exchanges
        ]
    )
