"""Which sensor a name means, and what a device's list takes of what a measure names: looked up for every measure."""

import unicodedata
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, NamedTuple

from metering_common.registry.documents import Sensor
from metering_validator.domain.measures import CleanReader

MAX_PLANS = 5_000
"""Different (names, list) pairs remembered; installations of one model share theirs."""


class RangeCheck(NamedTuple):
    """A column whose sensor has a plausible range or a fault value: what lies within needs no second look."""

    column: int
    sensor: Sensor


class Plan(NamedTuple):
    """How the values of a measure with certain names are taken for a certain device list, by columns."""

    sensors: tuple[int, ...]
    """Dictionary ids of what is taken, in the order of the names."""
    pick: Any
    """From all values of a measure to those taken; None when all are taken."""
    not_taken: tuple[int, ...]
    checks: tuple[RangeCheck, ...]
    values: int
    """How many values such a measure has."""


class Dictionary:
    """The sensor dictionary at one moment: names and aliases after NFC and trimming."""

    def __init__(self, sensors: Iterable[Sensor]) -> None:
        ordered = sorted(sensors, key=lambda sensor: (sensor.position, sensor.id))
        self._by_text = {comparable(sensor.alias): sensor for sensor in ordered if sensor.alias}
        self._by_text |= {comparable(sensor.name): sensor for sensor in ordered}
        self._names = {sensor.id: sensor.name for sensor in ordered}
        self.reader = CleanReader(self._by_text)
        self._plans: dict[tuple[tuple[str, ...], tuple[int, ...]], Plan | None] = {}

    def find(self, text: str) -> Sensor | None:
        """The sensor that this name or alias means; a name goes before another sensor's equal alias."""
        found = self._by_text.get(text)
        return found if found is not None else self._by_text.get(comparable(text))

    def name_of(self, sensor_id: int) -> str:
        """The dictionary's own name of a sensor that `find` gave."""
        return self._names[sensor_id]

    def plan(self, names: tuple[str, ...], device_list: tuple[int, ...]) -> Plan | None:
        """How to take such a measure; None when a name is unknown or a sensor named twice."""
        key = names, device_list
        try:
            return self._plans[key]
        except KeyError:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            return self._plans.setdefault(key, self._make_plan(names, device_list))

    def _make_plan(self, names: tuple[str, ...], device_list: tuple[int, ...]) -> Plan | None:
        found = [self.find(name) for name in names]
        sensors = [sensor for sensor in found if sensor is not None]
        if len({sensor.id for sensor in sensors}) != len(names):
            return None
        taken = [index for index, sensor in enumerate(sensors) if sensor.id in set(device_list)]
        return Plan(
            sensors=tuple(sensors[index].id for index in taken),
            pick=None if len(taken) == len(names) else _picker(taken),
            not_taken=tuple(sensor.id for sensor in sensors if sensor.id not in device_list),
            checks=tuple(
                RangeCheck(column, sensors[index]) for column, index in enumerate(taken) if is_checked(sensors[index])
            ),
            values=len(names),
        )


def comparable(text: str) -> str:
    """What of a name is compared: NFC, without white space at its ends."""
    return unicodedata.normalize("NFC", text).strip()


def is_checked(sensor: Sensor) -> bool:
    """Whether the dictionary says anything about this sensor's values."""
    return sensor.minimum is not None or sensor.maximum is not None or sensor.fault is not None


def _picker(indexes: list[int]) -> Any:
    """`itemgetter` gives a bare value for one index and takes no empty list."""
    if len(indexes) > 1:
        return itemgetter(*indexes)
    return lambda values: [values[index] for index in indexes]
