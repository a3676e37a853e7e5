"""A reading that does not simply follow on is tried: jitter, dip, spike, roll-over, reset, jump, in this order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from metering_writer.domain.registers.model import FOLLOWERS, ROUNDING, SMALL_SHARE, EventKind, Readings, RegisterRules


class Accepted(NamedTuple):
    """A reading that counts, with the value that the register is taken to have then."""

    at: int
    value: float


class Ending(NamedTuple):
    """How a trial may end."""

    kind: EventKind
    taken_back: int
    """Accepted readings, the base first, that are left out."""
    left_out: int
    """Readings, the one on trial first, that are left out."""
    figure: float
    """The register at the last reading looked at, less the base."""
    supported: bool
    """At least one reading speaks for it."""
    counts: float | None = None
    """What the step to the reading on trial counts, where a new segment begins with it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One reading on trial, those after it as far as they are of the same meter, and those accepted before it."""

    rules: RegisterRules
    accepted: Sequence[Accepted]
    """Of the same segment, the base last; the last three are enough."""
    readings: Readings
    place: int
    """Of the reading on trial."""

    @property
    def base(self) -> Accepted:
        return self.accepted[-1]

    @property
    def open(self) -> bool:
        """Fewer than three readings have followed."""
        return self.place + FOLLOWERS >= len(self.readings)

    def end(self) -> Ending:
        """For good when three readings have followed; before, the smallest figure in which it can still end."""
        possible = list(self._possible())
        if not self.open:
            return next((ending for ending in possible if ending.supported), self._left_out(1))
        if not any(ending.kind is EventKind.ROLL_OVER for ending in possible):
            return min(possible, key=lambda ending: ending.figure, default=self._left_out(1))
        return next(ending for ending in possible if ending.supported)

    def _possible(self) -> Iterator[Ending]:
        """In their order, without those that a reading speaks against."""
        yield from self._outliers()
        if self._falls:
            yield from self._roll_over()
            yield from self._reset()
        else:
            yield from self._jump()

    @property
    def _value(self) -> float:
        return float(self.readings.value[self.place])

    @property
    def _at(self) -> int:
        return int(self.readings.at[self.place])

    @property
    def _falls(self) -> bool:
        return not self.rules.net and self._value < self.base.value

    def _outliers(self) -> Iterator[Ending]:
        """One or two wrong readings side by side: after the base, up to it, or on both sides of it.

        What nothing speaks for yet is possible only for what was read after the base, and for one reading before two.
        """
        one, two = self._without(0, 1), self._without(0, 2)
        two = None if self.open and one is not None else two
        before = [self._without(1, 0), self._without(1, 1), self._without(2, 0)]
        yield from (ending for ending in (one, two) if ending is not None)
        yield from (ending for ending in before if ending is not None and ending.supported)

    def _without(self, taken_back: int, left_out: int) -> Ending | None:
        """The ending in which the readings left run on from the one before; None where they do not."""
        if taken_back >= len(self.accepted):
            return None
        before, first = self.accepted[-1 - taken_back], self.place + left_out
        runs_on = self.run_on(before, first, min(first, self.place + 1) + FOLLOWERS)
        if runs_on is None:
            return None
        supported = first < len(self.readings)
        return Ending(self._kind(before, taken_back), taken_back, left_out, runs_on - self.base.value, supported)

    def _kind(self, before: Accepted, taken_back: int) -> EventKind:
        wrong = self._value if taken_back == 0 else self.base.value
        return EventKind.DIP if wrong < before.value else EventKind.SPIKE

    def _left_out(self, readings: int) -> Ending:
        return Ending(self._kind(self.base, 0), 0, readings, 0.0, supported=True)

    def _roll_over(self) -> Iterator[Ending]:
        capacity = self.rules.capacity
        if capacity is None or self.base.value > capacity:
            return
        counts = capacity - self.base.value + self._value
        if 0 <= counts <= self._most(capacity):
            yield Ending(EventKind.ROLL_OVER, 0, 0, counts, supported=True, counts=counts)

    def _reset(self) -> Iterator[Ending]:
        following = self.readings.value[self.place : self.place + FOLLOWERS + 1]
        if (following < self.base.value).all():
            counts = self._value if 0 <= self._value <= self._most(self.base.value) else 0.0
            rises = max(0.0, float(following[-1]) - self._value)
            yield Ending(EventKind.RESET, 0, 0, counts + rises, supported=True, counts=counts)

    def _jump(self) -> Iterator[Ending]:
        runs_on = self.run_on(Accepted(self._at, self._value), self.place + 1, self.place + FOLLOWERS + 1)
        if runs_on is not None:
            yield Ending(EventKind.JUMP, 0, 0, runs_on - self._value, supported=True, counts=0.0)

    def _most(self, whole: float) -> float:
        """That a restart or a roll-over may count."""
        if self.rules.maximum_rate is None:
            return SMALL_SHARE * whole
        return self.rules.allowed_step(self._at - self.base.at)

    def run_on(self, before: Accepted, first: int, last: int) -> float | None:
        """The register after the readings from `first` to before `last`, or None where one does not follow on."""
        at, value = before
        for place in range(first, min(last, len(self.readings))):
            reading, then = float(self.readings.value[place]), int(self.readings.at[place])
            if not follows(self.rules, Accepted(at, value), then, reading):
                return None
            at, value = then, reading if self.rules.net else max(value, reading)
        return value


def follows(rules: RegisterRules, base: Accepted, at: int, value: float) -> bool:
    """Whether a reading needs no trial: it rises by what is allowed, or is below the base within tolerance."""
    step = value - base.value
    allowed = rules.allowed_step(at - base.at) + ROUNDING * abs(value)
    if rules.net:
        return abs(step) <= allowed
    return -rules.tolerance(base.value) <= step <= allowed
