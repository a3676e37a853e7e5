"""What a rule shows of itself: a small record that it applies to or passes. Tests run each, docs/rules.md prints it.

The sensors that examples name, and the registered device 29 with its list, stand in the tests' builders.
"""

from enum import StrEnum
from typing import NamedTuple


class Sender(StrEnum):
    """Which device the record of an example comes from."""

    REGISTERED = "a registered device"
    UNKNOWN = "a device that is not registered"
    OF_ANOTHER = "a device of another provider"
    INACTIVE = "an inactive device"


class Example(NamedTuple):
    """One measure with one value, and what stands around it. All texts are JSON, as a gateway writes them."""

    value: str = "1.5"
    name: str = '"Corriente A"'
    timestamp: str = "0"
    """A bare number under 10^9 counts from the second in which the record was received."""
    entry: str | None = None
    """The whole entry of `sensorValues`, instead of `name` and `value`."""
    before: tuple[str, ...] = ()
    """Values of the same sensor and moment that stand before it in the record."""
    measures: int = 1
    """How many such measures the record has, each a second older."""
    entries: int = 1
    """How often the entry stands in its measure."""
    newest: str | None = None
    """The timestamp of one more measure, at the end."""
    sender: Sender = Sender.REGISTERED
    clock_doubtful: bool = False

    def element(self, received_at: int) -> bytes:
        """The element of a request that was received at this Unix second."""
        measures = [self._measure(self._time(received_at, place)) for place in range(self.measures)]
        if self.newest is not None:
            measures.append(self._measure(str(received_at + int(self.newest))))
        return f'{{"deviceNumber":"29","measures":[{",".join(measures)}]}}'.encode()

    def shown(self) -> str:
        """One line for docs/rules.md."""
        place = (
            "received-at"
            if self.timestamp == "0"
            else f"received-at {int(self.timestamp):+}"
            if (self._is_relative())
            else self.timestamp
        )
        parts = [f"`{self._entry(self.value)}`"]
        parts += [f"after `{value}` for the same sensor and moment" for value in self.before]
        parts += [f"at `{place}`"] if self.timestamp != "0" else []
        parts += [f"beside a measure at `received-at {int(self.newest):+}`"] if self.newest else []
        parts += [f"in {self.measures} measures"] if self.measures > 1 else []
        parts += [f"{self.entries:,} times in a measure"] if self.entries > 1 else []
        parts += [f"from {self.sender}"] if self.sender is not Sender.REGISTERED else []
        parts += ["from a clock called doubtful"] if self.clock_doubtful else []
        return ", ".join(parts)

    def _is_relative(self) -> bool:
        return self.timestamp.lstrip("-").isdigit() and abs(int(self.timestamp)) < 10**9

    def _time(self, received_at: int, place: int) -> str:
        return str(received_at + int(self.timestamp) - place) if self._is_relative() else self.timestamp

    def _measure(self, timestamp: str) -> str:
        entries = [*map(self._entry, self.before), *([self._entry(self.value)] * self.entries)]
        return f'{{"timestamp":{timestamp},"sensorValues":[{",".join(entries)}]}}'

    def _entry(self, value: str) -> str:
        return self.entry if self.entry is not None else f'{{"sensorName":{self.name},"sensorValue":{value}}}'
