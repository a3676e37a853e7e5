"""The documents of `registry.v1`: what the platform knows of providers, gateways, devices, sensors and signing keys.

Each document is whole: the newest one for a key replaces the one before; an empty value (tombstone) removes it.
Keys on the topic are `meta`, `provider:1`, `gateway:2`, `device:29`, `sensor:7`, `key:<kid>`.
"""

from enum import StrEnum

import msgspec


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Common shape; unknown fields of a newer release are ignored, absent optional ones take their defaults."""


class SensorKind(StrEnum):
    """How a sensor's values relate over time."""

    INSTANTANEOUS = "instantaneous"
    ACCUMULATING = "accumulating"
    """A register that only counts up."""
    NET = "net"
    """A register that may run both ways: its consumption is signed."""


class KeyState(StrEnum):
    """Where a signing key stands; a retired key is a tombstone."""

    PUBLISHED = "published"
    ACTIVE = "active"
    RETIRING = "retiring"
    WITHDRAWN = "withdrawn"


class Meta(Document, tag="meta", tag_field="type", frozen=True, kw_only=True):
    """The registry topic's identity: a topic recreated has a new epoch (UUID text)."""

    epoch: str
    created_at: int
    """Unix seconds."""


class Provider(Document, tag="provider", tag_field="type", frozen=True, kw_only=True):
    """An installer of gateways. Tokens issued at or before `revoked_at` (Unix seconds) are void."""

    id: int
    name: str
    active: bool = True
    revoked_at: int | None = None


class Gateway(Document, tag="gateway", tag_field="type", frozen=True, kw_only=True):
    """What speaks HTTP to us at a customer's site. Tokens issued at or before `revoked_at` (Unix seconds) are void."""

    id: int
    provider: int
    name: str
    active: bool = True
    revoked_at: int | None = None


FaultRanges = tuple[tuple[float | None, float | None], ...]
"""Closed ranges (low, high); None is an open end, (v, v) one value."""


class Sensor(Document, tag="sensor", tag_field="type", frozen=True, kw_only=True):
    """One entry of the dictionary, in its order of `position`. Absent `minimum`, `maximum`, `faults`: no such check."""

    id: int
    position: int
    name: str
    """NFC and trimmed; compared exactly."""
    unit: str
    kind: SensorKind
    alias: str | None = None
    minimum: float | None = None
    """Below it a value is implausible (quality 1)."""
    maximum: float | None = None
    """Above it a value is implausible (quality 1)."""
    faults: FaultRanges = ()
    """Closed ranges whose values say that the sensor is broken (quality 3); null is an open end, `[v, v]` one value."""
    capacity: float | None = None
    """After it an accumulating register starts at 0 again."""
    resolution: float | None = None
    """The smallest step in which a register's readings are sent."""
    interval_seconds: int | None = None
    """How often a value is expected, where it is not the device's interval."""
    maximum_rate: float | None = None
    """The most that a register can count in an hour; a device may have one of its own."""

    def fault_value(self) -> float | None:
        """Returns a value that says that the sensor is broken; None where the dictionary names none."""
        return next((end for fault in self.faults for end in fault if end is not None), None)


class MeterExchange(Document, frozen=True, kw_only=True):
    """At `at` (Unix seconds) one register of a device was exchanged; a reading at that very time is the old meter's."""

    sensor: int
    at: int
    closing: float | None = None
    """The old meter's last reading, where somebody wrote it down."""
    opening: float | None = None
    """The new meter's first one; without it the new meter begins at its first reading, not at 0."""


class Device(Document, tag="device", tag_field="type", frozen=True, kw_only=True):
    """A meter. `sensors` are dictionary ids in the dictionary's order: what is taken from its measurements."""

    id: int
    provider: int
    number: str
    """The provider's number for it: any text, NFC, unique per provider."""
    sensors: tuple[int, ...]
    zone: str = "America/Santiago"
    """IANA zone whose days its daily figures follow."""
    interval_seconds: int | None = None
    """How often a measure is expected; unknown when absent."""
    maximum_rates: dict[int, float] | None = None
    """By sensor, the most that this meter can count in an hour, where it is not the dictionary's `maximum_rate`."""
    exchanges: tuple[MeterExchange, ...] = ()
    """In order of time and sensor."""
    active: bool = True


class SigningKey(Document, tag="key", tag_field="type", frozen=True, kw_only=True):
    """A public key of auth. ingest-api trusts its signatures unless withdrawn or past `accept_until`."""

    kid: str
    public_key: str
    """PEM, SubjectPublicKeyInfo."""
    state: KeyState
    accept_until: int | None = None
    """Unix seconds; while absent there is no end yet."""


RegistryDocument = Meta | Provider | Gateway | Sensor | Device | SigningKey

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[RegistryDocument] = msgspec.json.Decoder(RegistryDocument)


def document_key(document: RegistryDocument) -> str:
    """The record key under which a document stands on `registry.v1`."""
    match document:
        case Meta():
            return "meta"
        case SigningKey(kid=kid):
            return f"key:{kid}"
        case Provider(id=number):
            return f"provider:{number}"
        case Gateway(id=number):
            return f"gateway:{number}"
        case Sensor(id=number):
            return f"sensor:{number}"
        case Device(id=number):
            return f"device:{number}"


def encode_document(document: RegistryDocument) -> bytes:
    """JSON as it stands on the topic."""
    return _encoder.encode(document)


def decode_document(value: bytes) -> RegistryDocument:
    """Raises `msgspec.DecodeError` (or its subclass `ValidationError`) on anything that is not one of the documents."""
    return _decoder.decode(value)
