"""All that a validation depends on besides the element itself: who sent it and when, the registry, the limits."""

from dataclasses import dataclass, field

from metering_common.contract.limits import DAY_SECONDS, MAX_MEASURES, MAX_SPAN_SECONDS, MAX_VALUES, MILLISECONDS_FROM
from metering_common.contract.metadata import RecordHeaders, RecordPosition
from metering_common.registry.documents import Device
from metering_validator.domain.dictionary import Dictionary


@dataclass(frozen=True, slots=True)
class Window:
    """How far a timestamp may lie from received-at, both ends included."""

    future_seconds: int = 900
    past_seconds: int = 400 * DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Limits:
    """ingest-api's limits, checked again for what came by another way, and the windows per source."""

    http: Window = field(default_factory=Window)
    ecl: Window = field(default_factory=Window)
    max_measures: int = MAX_MEASURES
    max_values: int = MAX_VALUES
    max_span_seconds: int = MAX_SPAN_SECONDS


@dataclass(frozen=True, slots=True)
class Context:
    """What `validate` is given beside the element: nothing in it is the present time."""

    headers: RecordHeaders
    raw: RecordPosition
    device: Device | None
    dictionary: Dictionary
    limits: Limits

    @property
    def window(self) -> Window:
        """The window of the source; a replay has the window of what it replays (only the portal has no gateway)."""
        source = self.headers.source
        if source == "replay":
            source = "http" if self.headers.gateway_id is not None else "ecl"
        return self.limits.ecl if source == "ecl" else self.limits.http

    @property
    def latest(self) -> int:
        """The last second that is not in the future beyond the tolerance."""
        return min((self.headers.received_at_ms + self.window.future_seconds * 1_000) // 1_000, MILLISECONDS_FROM - 1)

    @property
    def earliest(self) -> int:
        """The first second that is not too old."""
        return -((self.window.past_seconds * 1_000 - self.headers.received_at_ms) // 1_000)
