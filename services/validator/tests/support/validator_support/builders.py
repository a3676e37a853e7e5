"""Builders of registry documents, elements and records for the validator's tests."""

import json
from functools import cache
from typing import Any
from uuid import UUID

import msgspec

from metering_common.contract.metadata import RecordHeaders, RecordPosition, RegistryVersion, encode_headers
from metering_common.contract.topics import RAW
from metering_common.registry.documents import Device, Meta, RegistryDocument, Sensor, SensorKind
from metering_validator.domain.context import Context, Limits
from metering_validator.domain.dictionary import Dictionary
from metering_validator.domain.examples import Example, Sender
from metering_validator.record_results import RawRecord

EPOCH = "6f1c2c7e-6a0f-4b7e-9a52-0d5f1f3a9b11"
RECEIVED_AT_MS = 1_773_241_518_021
NOW = RECEIVED_AT_MS // 1_000


def sensor(id_: int, name: str, **fields: Any) -> Sensor:
    return Sensor(id=id_, position=id_, name=name, unit="A", kind=SensorKind.INSTANTANEOUS, **fields)


SENSORS = (
    sensor(1, "Corriente A"),
    sensor(2, "Corriente B", alias="CB"),
    sensor(3, "Energía activa acumulada", alias="EACTIVE", minimum=0.0),
    sensor(4, "Temperatura", minimum=-50.0, maximum=100.0, faults=((192.0, None), (-300.0, -300.0), (-128.0, -127.0))),
    sensor(5, "Corriente C"),
)
DEVICE = Device(id=29, provider=1, number="29", sensors=(1, 2, 3, 4))


def context_of(example: Example) -> Context:
    """What an example of a rule takes for granted."""
    device = {
        Sender.REGISTERED: DEVICE,
        Sender.UNKNOWN: None,
        Sender.OF_ANOTHER: msgspec.structs.replace(DEVICE, provider=2),
        Sender.INACTIVE: msgspec.structs.replace(DEVICE, active=False),
    }[example.sender]
    return context(device, clock_doubtful=example.clock_doubtful)


def documents(*devices: Device) -> list[RegistryDocument]:
    return [Meta(epoch=EPOCH, created_at=NOW - 1000), *SENSORS, *(devices or (DEVICE,))]


def headers(**changes: Any) -> RecordHeaders:
    fields: dict[str, Any] = {
        "batch_id": UUID("019a0f3c-7d2e-7c41-9b0e-5f6a7c8d9e0f"),
        "item": 0,
        "items": 1,
        "provider_id": 1,
        "gateway_id": 2,
        "device_id": 29,
        "source": "http",
        "received_at_ms": RECEIVED_AT_MS,
        "rev": 7,
        "registry": RegistryVersion(EPOCH, 0),
    }
    return RecordHeaders(**fields | changes)


@cache
def dictionary_of(sensors: tuple[Sensor, ...]) -> Dictionary:
    """One for all tests that ask for it: what it remembers must not matter."""
    return Dictionary(sensors)


def context(
    device: Device | None = DEVICE,
    sensors: tuple[Sensor, ...] = SENSORS,
    limits: Limits | None = None,
    **header_changes: Any,
) -> Context:
    return Context(
        headers(**header_changes), RecordPosition(RAW, 3, 1234), device, dictionary_of(sensors), limits or Limits()
    )


def measure(timestamp: Any, *values: Any) -> dict[str, Any]:
    """`values` are (name, value) pairs, or whole entries."""
    entries = [
        {"sensorName": value[0], "sensorValue": value[1]} if isinstance(value, tuple) else value for value in values
    ]
    return {"timestamp": timestamp, "sensorValues": entries}


def element(*measures: dict[str, Any], number: str = "29") -> bytes:
    return json.dumps({"deviceNumber": number, "measures": list(measures)}, ensure_ascii=False).encode()


def raw_record(value: bytes | None, offset: int = 0, partition: int = 0, **header_changes: Any) -> RawRecord:
    return RawRecord(
        RecordPosition(RAW, partition, offset), RECEIVED_AT_MS, b"29", value, encode_headers(headers(**header_changes))
    )
