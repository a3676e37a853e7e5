"""What travels behind the validator: the validated record and the outcome.

A dead letter is the dead record itself with `dead-…` headers beside its own: see headers.py.
"""

from enum import IntEnum, StrEnum
from uuid import UUID

import msgspec

from metering_common.contract.metadata import RecordPosition

MAX_REFUSAL_GROUPS = 100
MAX_RAW_TEXT = 200
MAX_OUTCOME_FINDINGS = 100


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Common shape: camelCase JSON; defaults are left out; unknown fields of a newer release are ignored."""


class Quality(IntEnum):
    """What is known about a stored value; aggregates leave SENSOR_FAULT out."""

    GOOD = 0
    IMPLAUSIBLE = 1
    CLOCK_DOUBTFUL = 2
    SENSOR_FAULT = 3


class Status(StrEnum):
    """What became of a raw record."""

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

    sensors: tuple[int, ...]
    timestamps: list[int]
    values: list[float]
    quality: list[int] = []


class RawValue(Message, frozen=True, kw_only=True):
    """A refused value as it came: ASCII-escaped JSON text, at most 200 characters each."""

    timestamp: str
    value: str


class Refusal(Message, frozen=True, kw_only=True):
    """All values of one record that one rule refused for one sensor name.

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
    """Invariant 1, per record: values = accepted + refused + not_taken + repeated."""

    measures: int = 0
    values: int = 0
    accepted: int = 0
    refused: int = 0
    not_taken: int = 0
    repeated: int = 0


class Validated(Message, frozen=True, kw_only=True):
    """One per raw record, on `measurements.validated.v1`; what is about the record stands in the headers, unchanged."""

    raw: RecordPosition
    status: Status
    counts: Counts
    rows: list[Rows] = []
    refusals: list[Refusal] = []
    refusals_beyond: int = 0
    """Findings that found no place among the 100 groups."""
    not_taken: list[NotTaken] = []
    error: str | None = None
    """Why a dead record is dead, at most 4 KiB."""


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
    """The small result of one record, on `measurements.outcomes.v1` under the batch id."""

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
    replays: RecordPosition | None = None
    """The raw record that was validated again; absent for what came by ingest-api or the poller."""
