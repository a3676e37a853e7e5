"""The portal's world: controllers, what they measure, and when the portal gets hold of it. Nothing is stored.

What the portal has at a moment is worked out from the rules of the guide: it collects hourly; the log holds a sample
each quarter of an hour and remembers ten days; meters and inputs give their current value and remember nothing.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

QUARTER_MS = 900_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
LOG_MEMORY_MS = 10 * DAY_MS
COLLECTED_AFTER_MS = 180_000  # the portal's collection begins three minutes past the hour
Span = tuple[int, int]
"""From (inclusive) to (exclusive), true Unix milliseconds."""


@dataclass(frozen=True)
class Channel:
    """`kind` chooses the curve of its values, see `value_at`."""

    id: str
    name: str
    unit: str | None
    kind: str


@dataclass
class Device:
    id: str
    type: str
    name: str
    channels: tuple[Channel, ...]
    active: bool = True
    created_ms: int = 0
    ended_ms: int | None = None
    """No samples from then on: the application was changed."""
    silent: list[Span] = field(default_factory=list)
    """The portal reaches the controller, but this meter does not answer."""
    open_from_ms: dict[str, int] = field(default_factory=dict)
    """By channel: the sensor's wire is broken from then on."""
    extra: dict[str, object] = field(default_factory=dict)
    deleted: bool = False

    @property
    def is_log(self) -> bool:
        return self.type == "EclLogDevice"


@dataclass
class Controller:
    serial: str
    portal: str
    devices: list[Device]
    time_zone: str = "Europe/Copenhagen"
    application: str = "A376.1"
    access_codes: dict[str, bool] = field(default_factory=dict)
    """Code to whether its assignment is enabled."""
    outages: list[Span] = field(default_factory=list)
    """The portal cannot reach the controller."""
    clock_errors: list[tuple[int, int]] = field(default_factory=list)
    """(from true time, by how much its time stamps are wrong): wrong clock and wrong zone look alike."""
    late: list[tuple[int, int, int]] = field(default_factory=list)
    """(from, to, until): the log's samples of a time are delivered only from `until` on, newer ones before them."""
    extra: dict[str, object] = field(default_factory=dict)

    def device(self, device_id: str) -> Device | None:
        return next((device for device in self.devices if device.id == device_id and not device.deleted), None)


@dataclass(frozen=True)
class Row:
    """One sample of all channels. `true_ms` is when it was measured, `stamp_ms` the controller's own clock then."""

    true_ms: int
    stamp_ms: int
    received_ms: int


def rows(controller: Controller, device: Device, now_ms: int, from_ms: int, *, both: bool = False) -> list[Row]:
    """What the portal has of a device with time stamps at or after `from_ms`, in their order.

    Of two samples with one time stamp (a clock set back) the portal keeps the later, or `both`.
    """
    furthest = max((abs(error) for _, error in controller.clock_errors), default=0)
    start = max(device.created_ms, from_ms - furthest - HOUR_MS)
    found: dict[tuple[int, int], Row] = {}
    for true_ms in _measured(controller, device, start, now_ms):
        received = _received(controller, true_ms) if device.is_log else true_ms
        stamp = true_ms + _clock_error(controller, true_ms)
        if received <= now_ms and stamp >= from_ms and received - true_ms <= LOG_MEMORY_MS:
            found[stamp, received if both else 0] = Row(true_ms, stamp, received)
    return [found[key] for key in sorted(found)]


def gaps(controller: Controller, device: Device, now_ms: int) -> list[Span]:
    """The holes in what the portal has, as (last sample before, first sample after), and nothing else is missing."""
    step = QUARTER_MS if device.is_log else HOUR_MS
    stamps = [row.stamp_ms for row in rows(controller, device, now_ms, 0)]
    return [(a, b) for a, b in itertools.pairwise(stamps) if b - a > step]


def last_read(controller: Controller, device: Device, now_ms: int) -> int | None:
    """When the portal last got something of the device: of one that has ended, with its last sample."""
    end = now_ms if device.ended_ms is None else min(now_ms, device.ended_ms)
    moment = _collection_before(controller, end)
    if device.is_log and device.ended_ms is not None:
        moment = min(_received(controller, end // QUARTER_MS * QUARTER_MS), _collection_before(controller, now_ms))
    while moment > device.created_ms:
        if not _within(moment, controller.outages) and not _within(moment, device.silent):
            return moment
        moment -= HOUR_MS
    return None


def _measured(controller: Controller, device: Device, start_ms: int, now_ms: int) -> Iterator[int]:
    """True times at which the device has a sample."""
    end = min(now_ms, device.ended_ms or now_ms)
    if device.is_log:
        yield from range(math.ceil(start_ms / QUARTER_MS) * QUARTER_MS, end + 1, QUARTER_MS)
        return
    moment = _collection_before(controller, start_ms)
    while moment <= end:
        if moment >= start_ms and not _within(moment, controller.outages) and not _within(moment, device.silent):
            yield moment
        moment += HOUR_MS


def _received(controller: Controller, true_ms: int) -> int:
    """The first collection that reached the controller after the sample."""
    delayed = [until for start, end, until in controller.late if start <= true_ms < end]
    earliest = max([true_ms, *delayed])
    moment = _collection_before(controller, earliest)
    while moment < earliest or _within(moment, controller.outages):
        moment += HOUR_MS
    return moment


def _collection_before(controller: Controller, moment_ms: int) -> int:
    """Each controller has its own seconds after the hour."""
    own = COLLECTED_AFTER_MS + int(controller.serial) % 120 * 1_000
    return (moment_ms - own) // HOUR_MS * HOUR_MS + own


def _within(moment_ms: int, spans: list[Span]) -> bool:
    return any(start <= moment_ms < end for start, end in spans)


def _clock_error(controller: Controller, true_ms: int) -> int:
    error = 0
    for from_ms, by_ms in controller.clock_errors:
        if true_ms >= from_ms:
            error = by_ms
    return error


OPEN_SENSOR = 192.0
VOLTS = 10


def value_at(device: Device, channel: Channel, true_ms: int) -> float | int:
    """Repeatable curves: the weather, the heating curve that answers it, and registers that only count up."""
    if true_ms >= device.open_from_ms.get(channel.id, true_ms + 1):
        return OPEN_SENSOR
    days = true_ms / DAY_MS
    outdoor = 4 + 5 * math.sin(2 * math.pi * (days - 0.375)) + 3 * math.sin(2 * math.pi * days / 5)
    flow = max(20.0, 20 + 1.4 * (20 - outdoor))
    hours = days * 24 - 350_000
    curves = {
        "outdoor": outdoor,
        "flow": flow,
        "flow_reference": flow + 1,
        "return": flow - 0.35 * (flow - 20),
        "room": 20.5 + 0.5 * math.sin(2 * math.pi * days),
        "hot_water": 52 + 3 * math.sin(14 * math.pi * days),
        "energy": hours * 0.0045,
        "volume": hours * 0.12,
        "flow_rate": 110 + 20 * math.sin(2 * math.pi * days),
        "power": 4_500 + 900 * math.sin(2 * math.pi * (days + 0.25)),
        "pressure": 1.8,
        "switch": int(days * 24) % 2,
        "wind": 4 + 2 * math.sin(6 * math.pi * days),
    }
    return round(curves[channel.kind], 4 if channel.kind in ("energy", "volume") else 2)


def raw_value(device: Device, channel: Channel, true_ms: int) -> float | int | str:
    """The value as the portal gives it: volts of an analog input, the text of a switch, else the value itself."""
    value = value_at(device, channel, true_ms)
    low, high = device.extra.get("configInputDefinedMinValue"), device.extra.get("configInputDefinedMaxValue")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return round((value - low) / (high - low) * VOLTS, 6)
    texts = device.extra.get("configInputCircuitOpenText"), device.extra.get("configInputCircuitCloseText")
    return str(texts[int(value)]) if all(texts) else value
