"""Looking only at a window around a change ends where classifying everything would."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_writer.domain.registers import Event, Exchange, Readings, RegisterRules, classify_register
from metering_writer.domain.registers.model import HOUR
from metering_writer.domain.registers.revision import LOOK, StoredEvents, Window, revise


class Register:
    """As the database keeps it: the last value of each time, and the events."""

    def __init__(self, rules: RegisterRules) -> None:
        self._rules = rules
        self._values: dict[int, float] = {}
        self.events: list[Event] = []
        self.looked_at = 0

    @property
    def readings(self) -> Readings:
        at = sorted(self._values)
        return Readings(np.array(at, np.int64), np.array([self._values[one] for one in at], np.float64))

    def change(self, values: dict[int, float]) -> None:
        """As one note of the writer."""
        self._values |= values
        look = LOOK
        while not self._revise(min(values), max(values), look):
            look *= 10

    def _revise(self, since: int, upto: int, look: int) -> bool:
        readings = self.readings
        first = max(0, int(np.searchsorted(readings.at, since)) - look)
        last = min(len(readings), int(np.searchsorted(readings.at, upto, "right")) + look)
        window = Window(readings.part(first, last), first == 0, last == len(readings), since, upto)
        self.looked_at = len(window.readings)
        start = int(window.readings.at[0])
        offset = next((event.offset for event in reversed(self.events) if event.upto < start), 0.0)
        revision = revise(self._rules, window, StoredEvents(offset, [one for one in self.events if one.upto >= start]))
        if revision is None:
            assert not (window.begins and window.ends)
            return False
        kept = [one for one in self.events if revision.since is not None and one.since < revision.since]
        later = [one for one in self.events if revision.before is not None and one.since >= revision.before]
        shift = revision.shift
        later = [one._replace(start=one.start + shift, offset=one.offset + shift) for one in later]
        self.events = [*kept, *revision.events, *later]
        return True


STEPS = st.sampled_from([*[0.0, 0.1, 0.5, 1.0] * 6, 3.0, -0.05, -0.5, 200.0, -300.0, -5_000.0, 1e6])
KNOWN = st.sampled_from([None, 5.0, 300.0])


@st.composite
def registers(draw: st.DrawFn) -> tuple[RegisterRules, dict[int, float]]:
    """Mostly rising ones, so that windows find their ends, with every fault."""
    value, values = 100.0, {0: 100.0}
    for hour, step in enumerate(draw(st.lists(STEPS, min_size=30, max_size=90)), 1):
        value = max(0.0, round(value + step, 3)) if abs(step) < 1e6 else 1e6
        values[hour * HOUR] = value
    exchange = st.builds(Exchange, st.integers(0, 2 * len(values)).map(lambda half: half * HOUR // 2), KNOWN, KNOWN)
    rules = RegisterRules(
        net=draw(st.booleans()) and draw(st.booleans()),
        capacity=draw(st.sampled_from([None, 1_000.0])),
        maximum_rate=draw(st.sampled_from([None, 3.0])),
        interval_seconds=draw(st.sampled_from([None, 3_600])),
        exchanges=tuple(draw(st.lists(exchange, max_size=2, unique_by=lambda one: one.at))),
    )
    return rules, values


@settings(max_examples=25, deadline=None)
@given(registers(), st.data())
def test_order_late_doubled_and_corrected_readings_change_nothing(
    known: tuple[RegisterRules, dict[int, float]], data: st.DataObject
) -> None:
    """After each note the events are those of everything that is there, and only numbers differ by rounding."""
    rules, values = known
    register, times = Register(rules), list(values)
    late = data.draw(st.lists(st.sampled_from(times), max_size=6, unique=True))
    order = [*(one for one in times if one not in late), *data.draw(st.permutations(late))]
    while order:
        size = data.draw(st.integers(1, 12))
        now, order = order[:size], order[size:]
        register.change({now[0]: values[now[0]] + 7})
        register.change({one: values[one] for one in now})
        _assert_same(register.events, classify_register(rules, register.readings).events)


def test_a_late_reading_in_a_long_register_looks_at_few_readings() -> None:
    register = Register(RegisterRules(interval_seconds=3_600))
    register.change({hour * HOUR: float(hour) for hour in range(5_000) if hour not in {2_500, 4_000}})
    register.change({4_100 * HOUR: 0.0, 4_101 * HOUR: 1.0})
    register.change({2_500 * HOUR: 2_500.0})
    assert register.looked_at < 3 * LOOK
    _assert_same(register.events, classify_register(RegisterRules(interval_seconds=3_600), register.readings).events)


def _assert_same(found: list[Event], right: list[Event]) -> None:
    assert [event[:5] + event[8:] for event in found] == [event[:5] + event[8:] for event in right]
    numbers, wanted = (np.array([event[5:8] for event in events]) for events in (found, right))
    np.testing.assert_allclose(numbers, wanted, rtol=1e-9, atol=1e-5)
