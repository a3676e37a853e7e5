"""The emulator's own account of every sample, compared with the table `measurement` and with the gaps and reasons."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from metering_common.postgres.instants import unix_ms_of
from metering_common.registry.documents import Device
from tests.emulators.ecl_portal import world
from tests.emulators.ecl_portal.station import (
    PROVIDER,
    SENSOR_OF,
    SHOWN,
    TOLERANCE,
    UNITS,
    Key,
    Station,
    interval_of,
    mapping_of,
    number_of,
    publish_documents,
)

Spans = Mapping[tuple[int, str], list[tuple[int, int, str]]]
"""By platform device and sensor: from and to in Unix milliseconds, and the reason."""


async def recorded_gaps(station: Station) -> Spans:
    """The gaps of the poller's tables under the keys of the platform."""
    names = {
        (device.id, channel.id): (station.ids.get(number_of(controller, device), 0), SENSOR_OF[channel.name])
        for controller in station.controllers
        for device in controller.devices
        for channel in device.channels
    }
    spans: defaultdict[tuple[int, str], list[tuple[int, int, str]]] = defaultdict(list)
    for row in await station.register.gaps():
        for channel in row["channels"]:
            span = (unix_ms_of(row["from_at"]), unix_ms_of(row["to_at"]), row["reason"])
            spans[names[row["device"], channel]].append(span)
    return spans


def unaccounted(had: Mapping[Key, float], found: Mapping[Key, float], gaps: Spans) -> list[str]:
    """Samples that are neither stored with their value nor within a gap that has a reason: the first few."""
    missing = [key for key in had if key not in found or abs(found[key] - had[key]) > TOLERANCE]
    lost = [key for key in sorted(missing) if not _within(key, gaps)]
    return [f"{key}: {found.get(key)} stored, {had[key]} on the portal" for key in lost[:SHOWN]]


def _within(key: Key, gaps: Spans) -> bool:
    device, sensor, second = key
    return any(start <= second * 1_000 < end for start, end, _ in gaps.get((device, sensor), ()))


async def map_again(station: Station, controllers: Iterable[world.Controller]) -> None:
    """What a person does after `discover`: registers the devices that are new and applies the proposal."""
    chosen = list(controllers)
    documents = []
    for controller in chosen:
        for device in controller.devices:
            number = number_of(controller, device)
            if number not in station.ids:
                station.ids[number] = max(station.ids.values()) + 1
            documents.append(
                Device(
                    id=station.ids[number],
                    provider=PROVIDER,
                    number=number,
                    sensors=tuple(range(1, len(UNITS) + 1)),
                    interval_seconds=interval_of(number),
                )
            )
    await publish_documents(station.settings.kafka, documents)
    await station.register.apply_mapping([mapping_of(one, station.now_ms) for one in chosen], station.now_ms)
