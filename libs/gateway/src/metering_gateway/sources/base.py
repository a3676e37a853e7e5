"""What a source of measures is, and what it hands its measures to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from metering_gateway.domain.measures import SensorValue, SensorValues
from metering_gateway.replay import CsvFile

Sleep = Callable[[float], Awaitable[None]]


class SourceError(Exception):
    """A source cannot be read now; it is tried again. The message says what is wrong."""


class Sink(Protocol):
    """Both return when the measures are durable. Raise UnstorableMeasureError, DiskFullError and sqlite3.Error."""

    def store(self, device_number: str, values: SensorValues, timestamp: int | None = None) -> None:
        """One measure; without a timestamp it is of this moment."""

    async def store_file(self, file: CsvFile) -> None:
        """All of a file's measures, once, however often it is interrupted."""


class Source(Protocol):
    """`name` is for notices. `run` reads until it is cancelled; it raises SourceError when it cannot go on."""

    name: str

    async def run(self, sink: Sink) -> None: ...


@dataclass(frozen=True, slots=True)
class Scale:
    """value = raw * multiply + add; exact, so that 0.1 stays 0.1."""

    multiply: Decimal = Decimal(1)
    add: Decimal = Decimal(0)

    def of(self, raw: float) -> float:
        return float(Decimal(repr(raw)) * self.multiply + self.add)


UNSCALED = Scale()


@dataclass(frozen=True, slots=True)
class Names:
    """What a source's own names of devices and sensors are called on the platform; others keep their name."""

    devices: dict[str, str]
    sensors: dict[str, str]

    def values(self, values: dict[str, SensorValue]) -> dict[str, SensorValue]:
        return {self.sensors.get(name, name): value for name, value in values.items()}
