"""What travels behind the validator: the validated entry and the outcome, and their JSON."""

from enum import IntEnum, StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from metering_common.contract.metadata import EntryPosition, Int2

MAX_REFUSAL_GROUPS = 100
MAX_RAW_TEXT = 200
MAX_OUTCOME_FINDINGS = 100

UnixSeconds = Annotated[int, Meta(ge=-62_135_596_800, le=253_402_300_799)]
"""From year 1 to the end of the year 9999, what both PostgreSQL and Python's datetime can say."""


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Common shape: camelCase JSON; defaults are left out; unknown fields of a newer release are ignored."""


class Quality(IntEnum):
    """What is known about a stored value; aggregates leave SENSOR_FAULT out."""

    GOOD = 0
    IMPLAUSIBLE = 1
    CLOCK_DOUBTFUL = 2
    SENSOR_FAULT = 3


class Status(StrEnum):
    """What became of a raw entry."""

    VALIDATED = "validated"
    DEAD = "dead"


class FindingKind(StrEnum):
    """What an entry of `warnings` is about."""

    REFUSED = "refused"
    NOT_TAKEN = "not_taken"
    QUALITY = "quality"


class Rows(Message, frozen=True, kw_only=True):
    """Accepted values of measures that name the same sensors in the same order: a block of columns.

    `values` is row-major: the value of `timestamps[m]` and `sensors[s]` is `values[m * len(sensors) + s]`.
    `quality` is as long as `values`, or empty when every value is GOOD. Timestamps are Unix seconds.
    Positions in the document are kept: of two values for one (timestamp, sensor) the validator leaves only the later.
    """

    sensors: tuple[Int2, ...]
    timestamps: list[UnixSeconds]
    values: list[float]
    quality: list[Int2] = []


class RawValue(Message, frozen=True, kw_only=True):
    """A refused value as it came: ASCII-escaped JSON text, at most 200 characters each."""

    timestamp: str
    value: str


class Refusal(Message, frozen=True, kw_only=True):
    """All values of one entry that one rule refused for one sensor name.

    `sensor` is the dictionary id where the name is known; `name` is the name as ASCII-escaped JSON text (without the
    quotes, at most 200 characters). `first_at` and `last_at` are Unix seconds of the readable timestamps.
    A value refused by two rules stands in two groups: the counts of the groups may add up to more than `refused`.
    """

    rule: str
    name: str
    sensor: int | None = None
    count: int
    first_at: int | None = None
    last_at: int | None = None
    samples: list[RawValue] = []


class NotTaken(Message, frozen=True, kw_only=True):
    """Values of a known sensor that is not on the device's list."""

    sensor: int
    count: int


class Counts(Message, frozen=True, kw_only=True):
    """Invariant 1, per entry: values = accepted + refused + not_taken + repeated."""

    measures: int = 0
    values: int = 0
    accepted: int = 0
    refused: int = 0
    not_taken: int = 0
    repeated: int = 0


class Validated(Message, frozen=True, kw_only=True):
    """One per raw entry, at the same index of its envelope on `measurements.validated.v1`, the metadata unchanged."""

    status: Status
    counts: Counts
    rows: list[Rows] = []
    refusals: list[Refusal] = []
    refusals_beyond: int = 0
    """Findings whose group found no place: beyond 100, or beyond the bytes that an entry's refusals may take."""
    not_taken: list[NotTaken] = []
    error: str | None = None
    """Why a dead entry is dead, at most 4 KiB."""


class Finding(Message, frozen=True, kw_only=True):
    """One entry of the API's `warnings` (contracts/openapi/input.yaml), in its published field order."""

    device_number: str
    timestamp: int | str | None
    """Unix seconds; the raw text where it is no such number; null for a sensor not taken."""
    sensor_name: str | None
    kind: FindingKind
    rule: str
    message: str


class Outcome(Message, frozen=True, kw_only=True):
    """The small result of one entry, on `measurements.outcomes.v1`, in the partition of the batch id."""

    batch_id: UUID
    item: int
    items: int
    provider: int
    device: int
    received_at_ms: int
    status: Status
    counts: Counts
    rules: dict[str, int] = {}
    """Findings per refusing rule."""
    findings: list[Finding] = []
    """Refusals first, then not-taken sensors, then quality warnings; at most 100."""
    replays: EntryPosition | None = None
    """The raw entry that was validated again; absent for what came by ingest-api or the poller."""


_encoder = msgspec.json.Encoder()
_validated = msgspec.json.Decoder(Validated)


def encode_validated(message: Validated) -> bytes:
    """JSON, the same bytes for the same message."""
    return _encoder.encode(message)


def decode_validated(value: bytes) -> Validated:
    """Raises `msgspec.DecodeError`."""
    return _validated.decode(value)
