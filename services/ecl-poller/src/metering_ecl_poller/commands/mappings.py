"""metering-ecl discover and mapping …: from what the portal has to what the platform calls it."""

import argparse
import csv
from pathlib import Path
from typing import Any

import msgspec

from metering_ecl_poller.adapters.postgres.controller_store import UnknownControllerError
from metering_ecl_poller.commands.session import CommandResult, EclCommandError, Parsers, ToolSession, add_command
from metering_ecl_poller.domain.gaps import sampling_intervals
from metering_ecl_poller.domain.mapping import ControllerMapping, MappingFile, faults, with_units
from metering_ecl_poller.domain.portal.errors import PortalError
from metering_ecl_poller.domain.proposal import DeviceImportRow, device_import_rows, propose


def register(groups: Parsers) -> None:
    discover = add_command(groups, "discover", _discover, "ask master data and propose a mapping file to correct")
    discover.add_argument("serials", nargs="*", help="all enabled controllers when none is named")
    discover.add_argument("--provider", type=int, required=True, help="the platform's provider that has the devices")
    discover.add_argument("--output", type=Path, required=True, help="the mapping file to write")
    discover.add_argument("--devices", type=Path, help="a file to write too, for metering-admin device import")
    commands = groups.add_parser("mapping", help="what goes where").add_subparsers(required=True)
    apply = add_command(commands, "apply", _apply, "let a mapping file apply from now on; prints its version")
    apply.add_argument("file", type=Path)
    show = add_command(commands, "show", _show, "print the mapping that applies, as a file that `apply` reads")
    show.add_argument("serials", nargs="*")


async def _discover(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    for file in (given.output, given.devices):
        if file is not None and file.exists():
            raise EclCommandError(f"{file} exists and may have been corrected already: name another file")
    context, units = await session.context(), await session.sensor_units()
    proposals, lines, failures = [], [], []
    for serial in await session.serials(given.serials):
        job = await context.store.claim_one(serial, session.clock.now_ms())
        if job is None:
            failures.append({"serial": serial, "reason": "it is being polled just now"})
            continue
        try:
            master = await context.portal_for(job).master_data(job.account)
            proposals.append(propose(serial, master, given.provider, units))
            lines += device_import_rows(proposals[-1], master, sampling_intervals(context.dialect))
        except PortalError as error:
            failures.append({"serial": serial, "reason": str(error)})
        finally:
            await context.store.release(job)
    _write(given.output, MappingFile(controllers=tuple(proposals)))
    if given.devices is not None:
        _write_devices(given.devices, lines)
    value = {"file": str(given.output), "devices": _devices(proposals, context), "failures": failures}
    return CommandResult(value, _text_for(value), failed=bool(failures))


def _devices(proposals: list[ControllerMapping], context: Any) -> list[dict[str, Any]]:
    """With what must still be registered: the platform creates no device from here."""
    registry = context.replica.registry
    return [
        {
            "provider": device.provider,
            "deviceNumber": device.device_number,
            "registered": registry.device_by_number(device.provider, device.device_number) is not None,
            "sensors": [channel.sensor for channel in device.channels if channel.sensor is not None],
            "unmapped": [channel.portal_name for channel in device.channels if channel.sensor is None],
        }
        for controller in proposals
        for device in controller.devices
    ]


def _text_for(value: dict[str, Any]) -> str:
    lines = [f"{value['file']} is written: correct it, then metering-ecl mapping apply {value['file']}"]
    for device in value["devices"]:
        lacking = "" if device["registered"] else " (not registered yet: metering-admin device import, see --devices)"
        unmapped = f", without {', '.join(device['unmapped'])}" if device["unmapped"] else ""
        lines.append(f"  {device['deviceNumber']}{lacking}: {len(device['sensors'])} sensors{unmapped}")
    if value["devices"] and not any(device["sensors"] for device in value["devices"]):
        lines.append("no channel fits a sensor of the dictionary: metering-admin sensor import data/ecl_sensors.json")
    lines += [f"  {failure['serial']} failed: {failure['reason']}" for failure in value["failures"]]
    return "\n".join(lines)


async def _apply(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    units = await session.sensor_units()
    file = _read(given.file)
    if found := faults(file, units):
        raise EclCommandError(f"{given.file} does not apply:\n" + "\n".join(f"  {fault}" for fault in found))
    mappings = [with_units(controller, units) for controller in file.controllers]
    try:
        version = await (await session.controllers()).apply_mapping(mappings, session.clock.now_ms())
    except UnknownControllerError as error:
        raise EclCommandError(str(error)) from None
    missing = [device for device in _devices(mappings, await session.context()) if not device["registered"]]
    numbers = [device["deviceNumber"] for device in missing]
    waiting = f"; not registered yet, so their values wait: {', '.join(numbers)}" if numbers else ""
    value = {"version": version, "controllers": len(mappings), "notRegistered": numbers}
    return CommandResult(value, f"version {version} applies to {len(mappings)} controllers{waiting}")


async def _show(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    store, shown = await session.controllers(), []
    for serial in await session.serials(given.serials):
        versions = await store.mappings(serial)
        shown += [versions[-1].mapping] if versions else []
    file = MappingFile(controllers=tuple(shown))
    return CommandResult(msgspec.to_builtins(file), _text(file))


def _read(path: Path) -> MappingFile:
    try:
        return msgspec.json.decode(path.read_bytes(), type=MappingFile)
    except OSError as error:
        raise EclCommandError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EclCommandError(f"{path} is no mapping file: {error}") from None


def _write(path: Path, file: MappingFile) -> None:
    try:
        path.write_text(_text(file) + "\n", encoding="utf-8")
    except OSError as error:
        raise EclCommandError(f"{path} cannot be written: {error.strerror}") from None


def _write_devices(path: Path, lines: list[DeviceImportRow]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerows([DeviceImportRow._fields, *lines])
    except OSError as error:
        raise EclCommandError(f"{path} cannot be written: {error.strerror}") from None


def _text(file: MappingFile) -> str:
    return msgspec.json.format(msgspec.json.encode(file), indent=1).decode()
