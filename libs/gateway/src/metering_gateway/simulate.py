"""Many made-up meters at one gateway: measures at a given rate, the same ones for the same seed."""

import asyncio
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from metering_gateway.domain.measures import Measure
from metering_gateway.outbox import Outbox

TICK_SECONDS = 0.1
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Simulation:
    """`rate`: measures per second of all `devices` together, for `seconds`.

    The devices are numbered `prefix` + 1, 2, … and must be registered. The n-th measures of all of them share a
    timestamp, one second apart from the next, the last at `end` (Unix seconds): no two measures share a key.
    """

    devices: int
    rate: float
    seconds: float
    prefix: str
    seed: int
    end: int

    @property
    def count(self) -> int:
        return max(1, round(self.rate * self.seconds))

    def measures(self) -> Iterator[Measure]:
        rng = random.Random(self.seed)  # noqa: S311  # a simulation is to be repeatable
        start = self.end - (self.count - 1) // self.devices
        registers = [0.0] * self.devices
        for number in range(self.count):
            device, timestamp = number % self.devices, start + number // self.devices
            power = _load(timestamp, rng)
            registers[device] += power / 3600
            yield Measure(f"{self.prefix}{device + 1}", timestamp, _values(power, registers[device], rng))

    async def store(self, outbox: Outbox) -> None:
        """In real time: what falls due is stored in one transaction per tick."""
        loop, measures = asyncio.get_running_loop(), self.measures()
        began, stored = loop.time(), 0
        while stored < self.count:
            due = min(self.count, int((loop.time() - began) * self.rate) + 1)
            outbox.store(next(measures) for _ in range(due - stored))
            stored = due
            await asyncio.sleep(TICK_SECONDS)


def _load(timestamp: int, rng: random.Random) -> float:
    """KW of a household: low at night, twice a day a peak."""
    hour = timestamp % _DAY / 3600
    return max(0.05, 0.6 + 0.5 * math.sin((hour - 4) * math.pi / 6) + rng.gauss(0, 0.1))


def _values(power: float, register: float, rng: random.Random) -> dict[str, float]:
    voltage = round(rng.gauss(230, 2), 2)
    return {
        "Potencia activa total instantánea": round(power, 3),
        "Energía activa acumulada": register,
        "Voltaje A-N": voltage,
        "Corriente A": round(power * 1000 / voltage, 2),
    }
