"""The conformance kit: a platform in one process that misbehaves on a script, and readings to deliver to it.

The script is one list: before the n-th successful request the platform fails in one way, and the client under test
has to do the right thing about it. `checks.py` says what was right and wrong.
"""

import csv
import io
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from metering_gateway.conformance.faults import Fault
from metering_gateway.conformance.platform import Call, Platform

DAYS = 14  # each is a request of its own at least: a request spans one day at most
PER_DAY = 12
DEVICES = ("29", "Nº 30/b")
UNKNOWN_DEVICE = "31"
SENSORS = ("Corriente A", "Energía activa acumulada")
SCRIPT = (
    Fault.UNAVAILABLE,
    Fault.UNAVAILABLE_LANDED,
    Fault.CUT,
    Fault.CUT_LANDED,
    Fault.TOO_MANY,
    Fault.TIMEOUT,
    Fault.BAD_GATEWAY,
    Fault.FORBIDDEN_BY_PROXY,
    Fault.CAPTIVE_PORTAL,
    Fault.REDIRECT,
    Fault.SLOW,
    Fault.EXPIRED,
)
RETRY_AFTER_SECONDS = 2
SLOW_SECONDS = 4.0

Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one meter; the readings of one device and time that follow each other are one measure."""

    device: str
    timestamp: int
    sensor: str
    value: float


def make_readings(now: int, seed: int = 1) -> list[Reading]:
    """Two weeks that end an hour ago. One device is not registered, one measure is refused by itself, and one value
    is corrected later: of the two the later one has to arrive last.
    """
    rng, readings = random.Random(seed), []  # noqa: S311  a fixed seed is the point
    start = now - now % 3600 - DAYS * 86_400 - 3600
    for number in range(DAYS * PER_DAY):
        at = start + number * 86_400 // PER_DAY
        for device in (*DEVICES, UNKNOWN_DEVICE):
            readings += [Reading(device, at, sensor, round(rng.uniform(0, 100), 3)) for sensor in SENSORS]
    first = readings[0]
    return [*readings, Reading(first.device, first.timestamp, first.sensor, 77.5)]


def as_csv(readings: list[Reading]) -> str:
    """`device,timestamp,sensor,value`, one a line, without quotes: no name here has a comma."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("device", "timestamp", "sensor", "value"))
    writer.writerows((r.device, r.timestamp, r.sensor, r.value) for r in readings)
    return text.getvalue()


class Script:
    """Which fault comes next: after each request that succeeded one of the script, while there are some left."""

    def __init__(self, faults: tuple[Fault, ...] = SCRIPT) -> None:
        self._rest = list(faults)
        self._quiet = True

    def __call__(self) -> Fault:
        self._quiet = not self._quiet
        return Fault.NONE if self._quiet or not self._rest else self._rest.pop(0)

    @property
    def left(self) -> tuple[Fault, ...]:
        return tuple(self._rest)


class Kit:
    """The platform, what it expects, and what it saw."""

    def __init__(self, readings: list[Reading], now_ms: Callable[[], int] | None = None) -> None:
        self.readings = readings
        self.script = Script()
        poisoned = readings[len(readings) // 2]
        self.poison = (DEVICES[0], poisoned.timestamp)
        self.platform = Platform(
            devices=set(DEVICES),
            poison={self.poison},
            faults=self.script,
            refresh_faults=_first(Fault.CUT_LANDED),
            now_ms=now_ms or (lambda: time.time_ns() // 1_000_000),
            retry_after_seconds=RETRY_AFTER_SECONDS,
            slow_seconds=SLOW_SECONDS,
        )

    @property
    def wanted(self) -> dict[Key, list[float]]:
        """What has to arrive, per key in its order."""
        wanted: dict[Key, list[float]] = {}
        for reading in self.readings:
            if reading.device in DEVICES and (reading.device, reading.timestamp) != self.poison:
                wanted.setdefault((reading.device, reading.timestamp, reading.sensor), []).append(reading.value)
        return wanted

    def missing(self) -> list[Key]:
        return [key for key in self.wanted if key not in self.platform.arrivals]

    @property
    def done(self) -> bool:
        return not self.missing() and not self.script.left

    def calls(self, path: str) -> list[Call]:
        return [call for call in self.platform.calls if call.path.endswith(path)]

    def fault_counts(self) -> Counter[Fault]:
        return Counter(call.fault for call in self.calls("/measurements"))


def _first(fault: Fault) -> Callable[[], Fault]:
    given = iter((Fault.NONE, fault))
    return lambda: next(given, Fault.NONE)
