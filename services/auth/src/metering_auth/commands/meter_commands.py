"""metering-admin sensor … and device …: what is measured, and by which meters."""

import argparse
from pathlib import Path
from typing import Any

import msgspec

from metering_auth.adapters.postgres import devices, sensors
from metering_auth.adapters.postgres.devices import DeviceChange, DeviceEntry
from metering_auth.commands import device_files, exchange_commands
from metering_auth.commands.session import Answer, CommandError, Parsers, Session, add_command, registry_id
from metering_auth.domain.device_lines import DEFAULT_ZONE
from metering_auth.domain.plain import as_plain
from metering_auth.domain.sensor_entries import SensorEntry, read_dictionary, read_sensor_list
from metering_common.registry.documents import Sensor, SensorKind

FAULT_HELP = (
    "a value or a range low..high (an end may be missing) of a broken sensor; again for more: --fault=-300..-127"
)


def fault_range(text: str) -> tuple[float | None, float | None]:
    """`192`, `-300..-127`, `192..`, `..-1000`; raises ValueError, of which argparse makes its message."""
    low, separator, high = text.partition("..")
    if not separator:
        return float(low), float(low)
    return (float(low) if low else None), (float(high) if high else None)


def named_rate(text: str) -> tuple[str, float | None]:
    """`EACTIVE=12.5`, or `EACTIVE=` for none; raises ValueError, of which argparse makes its message."""
    name, separator, rate = text.rpartition("=")
    if not separator:
        raise ValueError(text)
    return name, float(rate) if rate else None


RATE = ("--maximum-rate",)
RATE_TERMS: dict[str, Any] = {
    "dest": "maximum_rates",
    "action": "append",
    "default": [],
    "type": named_rate,
    "metavar": "SENSOR=RATE",
    "help": "the most that this register counts in an hour; again for more; without a rate the dictionary's holds",
}


def register(groups: Parsers) -> None:
    _register_sensor(groups.add_parser("sensor", help="the dictionary").add_subparsers(required=True))
    _register_device(groups.add_parser("device", help="the meters").add_subparsers(required=True))


def _register_sensor(commands: Parsers) -> None:
    add = add_command(commands, "add", _add_sensor, "add an entry at the end of the dictionary; prints its id")
    add.add_argument("--name", required=True)
    add.add_argument("--unit", required=True)
    add.add_argument("--alias")
    add.add_argument("--kind", choices=[kind.value for kind in SensorKind], help="without it the name decides")
    for name, sentence in (
        ("--minimum", "below it a value is implausible"),
        ("--maximum", "above it a value is implausible"),
        ("--capacity", "after it an accumulating register starts at 0 again"),
        ("--resolution", "the smallest step of a register's readings"),
        ("--maximum-rate", "the most that a register counts in an hour"),
    ):
        add.add_argument(name, type=float, help=sentence)
    add.add_argument("--fault", dest="faults", action="append", default=[], type=fault_range, help=FAULT_HELP)
    add.add_argument("--interval-seconds", type=int, help="how often a value is expected, if not as the device's")
    add_command(commands, "list", _list_sensors, "list the dictionary")
    add_command(commands, "export", _export_sensors, "print the dictionary as a file that `sensor import` reads")
    importing = add_command(commands, "import", _import_sensors, "add or change entries by name; safe to repeat")
    importing.add_argument("file", type=Path)
    importing.add_argument("--into-empty", action="store_true", help="do nothing where there is a dictionary already")


def _register_device(commands: Parsers) -> None:
    add = add_command(commands, "add", _add_device, "add a device; prints its id")
    add.add_argument("--provider", type=registry_id, required=True)
    add.add_argument("--number", required=True, help="the provider's number for it, any text")
    add.add_argument("--sensors", type=Path, help="JSON list of names or aliases; without it the whole dictionary")
    add.add_argument("--zone", default=DEFAULT_ZONE, help="IANA zone of its daily figures")
    add.add_argument("--interval-seconds", type=int, help="how often a measure is expected")
    listing = add_command(commands, "list", _list_devices, "list devices")
    listing.add_argument("--provider", type=registry_id)
    importing = add_command(commands, "import", device_files.import_file, "add or change many devices by number")
    importing.add_argument("--provider", type=registry_id, required=True)
    importing.add_argument("--partial", action="store_true", help="take the good lines where some are bad")
    importing.add_argument("file", type=Path, help=device_files.FORMAT)
    exporting = add_command(commands, "export", device_files.export_file, "write a file that `device import` reads")
    exporting.add_argument("--provider", type=registry_id, required=True)
    exporting.add_argument("file", type=Path)
    change = add_command(commands, "set-sensors", _set_sensors, "set what is taken from its measurements")
    change.add_argument("id", type=registry_id)
    change.add_argument("--sensors", type=Path, required=True, help="JSON list of names or aliases")
    add.add_argument(*RATE, **RATE_TERMS)
    terms = add_command(commands, "set", _set_terms, "change its zone, its expected interval or a maximum rate")
    terms.add_argument("id", type=registry_id)
    terms.add_argument("--zone")
    terms.add_argument("--interval-seconds", type=int)
    terms.add_argument(*RATE, **RATE_TERMS)
    exchange_commands.register(commands)
    for name, run, sentence in (
        ("disable", _disable, "refuse its values by rule until it is enabled"),
        ("enable", _enable, "take its values again"),
    ):
        add_command(commands, name, run, sentence).add_argument("id", type=registry_id)


async def _add_sensor(session: Session, given: argparse.Namespace) -> Answer:
    terms = {name: getattr(given, name) for name in SensorEntry.__struct_fields__}
    entry = msgspec.convert(terms, SensorEntry)
    sensor = await sensors.add_sensor(session.connection, session.actor, entry)
    return Answer(as_plain(sensor), str(sensor.id))


async def _list_sensors(session: Session, _given: argparse.Namespace) -> Answer:
    return Answer([as_plain(each) for each in await sensors.sensors(session.connection)])


async def _export_sensors(session: Session, _given: argparse.Namespace) -> Answer:
    exported = [_exported(each) for each in await sensors.sensors(session.connection)]
    return Answer(exported, msgspec.json.format(msgspec.json.encode(exported), indent=1).decode())


async def _import_sensors(session: Session, given: argparse.Namespace) -> Answer:
    """What operations have changed in theirs stays, with --into-empty."""
    entries = read_dictionary(read_file(given.file))
    if given.into_empty and await sensors.sensors(session.connection):
        entries = []
    done = await sensors.import_sensors(session.connection, session.actor, entries)
    value = {"added": done.added, "changed": done.changed, "unchanged": done.unchanged}
    return Answer(value, f"{done.added} added, {done.changed} changed, {done.unchanged} as they were")


async def _add_device(session: Session, given: argparse.Namespace) -> Answer:
    entry = DeviceEntry(
        provider_id=given.provider,
        number=given.number,
        sensors=None if given.sensors is None else read_sensor_list(read_file(given.sensors)),
        zone=given.zone,
        interval_seconds=given.interval_seconds,
        maximum_rates={name: rate for name, rate in given.maximum_rates if rate is not None},
    )
    device = await devices.add_device(session.connection, session.actor, entry)
    return Answer(as_plain(device), str(device.id))


async def _list_devices(session: Session, given: argparse.Namespace) -> Answer:
    listed = [as_plain(each) for each in await devices.devices(session.connection, given.provider)]
    return Answer(listed, rows=[device | {"sensors": len(device["sensors"])} for device in listed])


async def _set_sensors(session: Session, given: argparse.Namespace) -> Answer:
    named = read_sensor_list(read_file(given.sensors))
    return await _change(session, given.id, DeviceChange(sensors=named))


async def _set_terms(session: Session, given: argparse.Namespace) -> Answer:
    if given.zone is None and given.interval_seconds is None and not given.maximum_rates:
        raise CommandError("nothing to change: give --zone, --interval-seconds or --maximum-rate")
    rates = dict(given.maximum_rates)
    wanted = DeviceChange(zone=given.zone, interval_seconds=given.interval_seconds, maximum_rates=rates)
    return await _change(session, given.id, wanted)


async def _disable(session: Session, given: argparse.Namespace) -> Answer:
    return await _change(session, given.id, DeviceChange(active=False))


async def _enable(session: Session, given: argparse.Namespace) -> Answer:
    return await _change(session, given.id, DeviceChange(active=True))


async def _change(session: Session, device_id: int, wanted: DeviceChange) -> Answer:
    device = await devices.change_device(session.connection, session.actor, device_id, wanted)
    return Answer(as_plain(device), "done")


def read_file(path: Path) -> bytes:
    """Raises `CommandError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error


def _exported(sensor: Sensor) -> dict[str, Any]:
    """Id and position are this platform's own: the order of the file keeps the order of the dictionary."""
    terms = {name: getattr(sensor, name) for name in SensorEntry.__struct_fields__}
    return {name: value for name, value in terms.items() if value not in (None, ())}
