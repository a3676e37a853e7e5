"""A device and the dictionary as the published API tells them: sensors in the dictionary's order, alias only if any."""

import unicodedata
from typing import Any

from metering_common.http.problems import Problem
from metering_common.registry.documents import Device, Sensor
from metering_common.registry.memory import Registry


def find_by_number(registry: Registry, provider: int, number: str) -> Device | None:
    """The provider's device of that number, compared after Unicode NFC as it is registered."""
    return registry.device_by_number(provider, number if number.isascii() else unicodedata.normalize("NFC", number))


def find_by_id(registry: Registry, provider: int, device_id: int) -> Device | None:
    """Another provider's device is none."""
    device = registry.devices.get(device_id)
    return device if device is not None and device.provider == provider else None


def no_such_device() -> Problem:
    """The same to the byte for a device that does not exist and for another provider's."""
    return Problem(404, "device_unknown", "this provider has no such device")


def device_document(registry: Registry, device: Device) -> dict[str, Any]:
    """`{"id", "number", "sensors"}`; a sensor that left the dictionary is left out."""
    sensors = [registry.sensors[sensor] for sensor in device.sensors if sensor in registry.sensors]
    return {"id": device.id, "number": device.number, "sensors": _in_order(sensors)}


def dictionary_document(registry: Registry) -> list[dict[str, str]]:
    return _in_order(list(registry.sensors.values()))


def _in_order(sensors: list[Sensor]) -> list[dict[str, str]]:
    return [_sensor_document(sensor) for sensor in sorted(sensors, key=lambda sensor: (sensor.position, sensor.id))]


def _sensor_document(sensor: Sensor) -> dict[str, str]:
    alias = {} if sensor.alias is None else {"alias": sensor.alias}
    return {"name": sensor.name, **alias, "unit": sensor.unit}
