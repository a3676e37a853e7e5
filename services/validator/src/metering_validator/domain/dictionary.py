"""Says which sensor a name means, and how the values of a measure with certain names become columns for a device."""

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

from metering_common.registry.documents import Sensor
from metering_validator.domain.clean import CleanReader

MAX_PLAN_BYTES = 4 * 1024 * 1024
"""Memory of the plans that are remembered; installations of one model share theirs."""
_BYTES_PER_PLAN = 1_000
_BYTES_PER_NAME = 100


class Dictionary:
    """The sensor dictionary at one moment: names and aliases after NFC and trimming."""

    def __init__(self, sensors: Iterable[Sensor]) -> None:
        ordered = sorted(sensors, key=lambda sensor: (sensor.position, sensor.id))
        self._by_text = {comparable(sensor.alias): sensor for sensor in ordered if sensor.alias}
        self._by_text |= {comparable(sensor.name): sensor for sensor in ordered}
        self.by_id = {sensor.id: sensor for sensor in ordered}
        self.reader = CleanReader(self._by_text)
        self.plans = PlanCache()

    def find(self, text: str) -> Sensor | None:
        """Returns the sensor that this name or alias means; a name goes before another sensor's equal alias."""
        found = self._by_text.get(text)
        return found if found is not None else self._by_text.get(comparable(text))


class PlanCache:
    """Remembers plans of `columns`, by the names of a measure and the device's list, within `MAX_PLAN_BYTES`.

    Its keys are texts of the dictionary itself (the clean reader hands out nothing else), never what a sender wrote.
    """

    def __init__(self) -> None:
        self._plans: dict[tuple[tuple[str, ...], tuple[int, ...]], Any] = {}
        self.bytes = 0

    def get(self, names: tuple[str, ...], device_list: tuple[int, ...], make: Callable[[tuple[str, ...]], Any]) -> Any:
        """Returns the plan that `make` once made; None when columns cannot take such a measure."""
        key = names, device_list
        try:
            return self._plans[key]
        except KeyError:
            return self._keep(key, make(names))

    def _keep(self, key: tuple[tuple[str, ...], tuple[int, ...]], plan: Any) -> Any:
        cost = _BYTES_PER_PLAN + _BYTES_PER_NAME * len(key[0])
        if self.bytes + cost > MAX_PLAN_BYTES:
            self._plans.clear()
            self.bytes = 0
        if cost <= MAX_PLAN_BYTES:
            self._plans[key] = plan
            self.bytes += cost
        return plan


def comparable(text: str) -> str:
    """Returns what of a name is compared: NFC, without white space at its ends."""
    return unicodedata.normalize("NFC", text).strip()
