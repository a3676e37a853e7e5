"""What a mended mapping makes of an answer that came earlier, and what the mapping before it wrote that it does not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from metering_ecl_poller.domain.clock_check import check_clock
from metering_ecl_poller.domain.elements import PortalElement, to_elements
from metering_ecl_poller.domain.gaps import SamplingIntervals
from metering_ecl_poller.domain.mapping import ChannelRoute, ControllerMapping, plan_routes
from metering_ecl_poller.domain.portal.models import DeviceType, MasterData, PortalDevice, Sample
from metering_ecl_poller.domain.trust import TrustedSpan, publishable


class SensorTarget(NamedTuple):
    """Where a channel's values go."""

    provider: int
    number: str
    sensor: str


class DeviceRead(NamedTuple):
    """All samples of one read of one device, with the device as the portal described it then."""

    device: PortalDevice
    samples: tuple[Sample, ...]


class RemappedDevice(NamedTuple):
    """The elements of one platform device."""

    provider: int
    number: str
    elements: list[PortalElement]


@dataclass
class WrittenKeys:
    """Of one controller: what earlier mappings wrote elsewhere than the new one, and what the new one writes there.

    By target and Unix seconds, with the time of the newest answer that had it.
    """

    contested: frozenset[SensorTarget] = frozenset()
    """See `contested_targets`, of all earlier mappings."""
    before: dict[tuple[SensorTarget, int], int] = field(default_factory=dict)
    after: set[tuple[SensorTarget, int]] = field(default_factory=set)

    def lost(self) -> dict[SensorTarget, dict[int, int]]:
        """By target, Unix seconds to the answer's time in milliseconds."""
        found: dict[SensorTarget, dict[int, int]] = {}
        for (target, stamp), answered in self.before.items():
            if (target, stamp) not in self.after:
                found.setdefault(target, {})[stamp] = answered
        return found


def device_of(master: MasterData | None, device_id: str) -> PortalDevice:
    """Without master data the mapping's own units hold."""
    known = master.device(device_id) if master is not None else None
    return known or PortalDevice(
        id=device_id, type=DeviceType.OTHER, name="", active=True, last_read_ms=None, channels=(), more={}
    )


def rewrite(
    read: DeviceRead, mapping: ControllerMapping, intervals: SamplingIntervals, trusted: Sequence[TrustedSpan] = ()
) -> RemappedDevice | None:
    """As the poll would have done it with this mapping; None when it does not map the device."""
    mapped = mapping.device(read.device.id)
    if mapped is None or not read.samples:
        return None
    answered = max(sample.answered_ms for sample in read.samples)
    finding = check_clock(read.samples, answered, intervals.longest_lag_ms(active=read.device.active))
    doubtful = finding.doubtful if finding else frozenset()
    samples = publishable(read.samples, doubtful, trusted, intervals.interval_of(read.device.type)).samples
    elements = to_elements(mapped.device_number, samples, plan_routes(mapped, read.device).routes, doubtful)
    return RemappedDevice(mapped.provider, mapped.device_number, elements)


def note_keys(
    keys: WrittenKeys, read: DeviceRead, earlier: Iterable[ControllerMapping], new: ControllerMapping
) -> None:
    """Only what changed its target is kept: of a mapping that stayed the same nothing can be lost."""
    now = _targets(read.device, new)
    for mapping in earlier:
        then = _targets(read.device, mapping)
        moved = {channel: target for channel, target in then.items() if now.get(channel) != target}
        for sample in read.samples:
            if sample.channel in moved:
                key = (moved[sample.channel], sample.timestamp_ms // 1_000)
                keys.before[key] = max(sample.answered_ms, keys.before.get(key, 0))
    for sample in read.samples:
        if sample.channel in now and now[sample.channel] in keys.contested:
            keys.after.add((now[sample.channel], sample.timestamp_ms // 1_000))


def contested_targets(earlier: Iterable[ControllerMapping], new: ControllerMapping) -> frozenset[SensorTarget]:
    """Those that an earlier mapping fed from another channel than the new one does, or the new one not at all."""
    feeds = _feeds(new)
    return frozenset(
        target for mapping in earlier for source, target in _feeds(mapping).items() if feeds.get(source) != target
    )


def _feeds(mapping: ControllerMapping) -> dict[tuple[str, str], SensorTarget]:
    return {
        (device.external_device_id, channel.external_channel_id): SensorTarget(
            device.provider, device.device_number, channel.sensor
        )
        for device in mapping.devices
        for channel in device.channels
        if channel.sensor is not None
    }


def _targets(device: PortalDevice, mapping: ControllerMapping) -> dict[str, SensorTarget]:
    mapped = mapping.device(device.id)
    if mapped is None:
        return {}
    routes = plan_routes(mapped, device).routes
    return {channel: SensorTarget(mapped.provider, mapped.device_number, one.sensor) for channel, one in routes.items()}


def fault_marks(target: SensorTarget, stamps: dict[int, int], fault: float) -> list[PortalElement]:
    """Elements that give each key the sensor's fault value: the validator marks it quality 3, aggregates skip it."""
    samples = [
        Sample("", target.sensor, stamp * 1_000, 0, Decimal(repr(fault)), answered)
        for stamp, answered in sorted(stamps.items())
    ]
    return to_elements(target.number, samples, {target.sensor: ChannelRoute(target.sensor, Decimal(1))}, frozenset())


def joined(pages: Sequence[tuple[Sample, ...]]) -> tuple[Sample, ...]:
    """The pages of one read as one; of a sample on two pages the later stays."""
    unique = {(sample.channel, sample.timestamp_ms): sample for page in pages for sample in page}
    return tuple(sorted(unique.values(), key=lambda sample: (sample.timestamp_ms, sample.channel)))
