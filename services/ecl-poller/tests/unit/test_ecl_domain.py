"""The poller's pure parts: units, clock, schedule, windows, holes, elements."""

import json
from decimal import Decimal
from typing import ClassVar

import pytest

from metering_ecl_poller.domain import clock_check, elements, gaps, schedule, units, window
from metering_ecl_poller.domain.clock_check import ClockState
from metering_ecl_poller.domain.gaps import Gap, GapReason, SamplingIntervals
from metering_ecl_poller.domain.mapping import ChannelRoute
from metering_ecl_poller.domain.portal.models import DeviceType, Sample, Value
from metering_ecl_poller.domain.portal.times import from_portal_time, to_portal_time
from metering_ecl_poller.domain.window import Cursor
from tests.emulators.ecl_portal.connected import DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS

pytestmark = pytest.mark.fast

QUARTER_MS = 15 * MINUTE_MS
ANSWERED_MS = NOON_MS + 100 * DAY_MS
INTERVALS = SamplingIntervals(QUARTER_MS, HOUR_MS, 10 * DAY_MS)


def sample(stamp_ms: int, received_ms: int | None = None, value: Value = None, channel: str = "1") -> Sample:
    return Sample("d", channel, stamp_ms, stamp_ms if received_ms is None else received_ms, value, ANSWERED_MS)


def collected(*, until_ms: int, received_ms: int, count: int = 4, error_ms: int = 0) -> list[Sample]:
    """One hourly collection of the log."""
    return [sample(until_ms - n * QUARTER_MS + error_ms, received_ms) for n in range(count)]


class TestUnits:
    @pytest.mark.parametrize(
        ("value", "portal", "sensor", "wanted"),
        [
            ("17.1234", "MWh", "kWh", "17123.4"),
            ("0.0001", "MWh", "kWh", "0.1"),
            ("4500.5", "W", "kW", "4.5005"),
            ("110.37", "l/h", "m³/h", "0.11037"),
            ("8.31", "°C", "°C", "8.31"),
            ("12.5", "m3", "m³", "12.5"),
            ("0.1", "m3/h", "m³/h", "0.1"),
        ],
    )
    def test_a_declared_conversion_is_exact(self, value: str, portal: str, sensor: str, wanted: str) -> None:
        assert units.converted(Decimal(value), units.factor(portal, sensor)) == Decimal(wanted)

    @pytest.mark.parametrize(("portal", "sensor"), [("kWh", "°C"), (None, "kWh"), ("GJ", "kWh"), ("mwh", "kWh")])
    def test_what_is_not_declared_is_refused_and_never_guessed(self, portal: str | None, sensor: str) -> None:
        with pytest.raises(units.UnitError):
            units.factor(portal, sensor)

    def test_no_unit_is_the_dictionarys_own_word_for_it(self) -> None:
        assert units.factor(None, "Sin unidad") == 1


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("2013-04-18T08:53:00.0Z", "2013-04-18T08:53:00.0Z"),
            ("2013-04-18T10:53:00.0+02:00", "2013-04-18T08:53:00.0Z"),
            ("2013-04-18T08:53:00", "2013-04-18T08:53:00.0Z"),
            ("2013-04-18T08:53:00.123456Z", "2013-04-18T08:53:00.1Z"),
        ],
    )
    def test_time_stamps_in_and_out(self, text: str, wanted: str) -> None:
        assert to_portal_time(from_portal_time(text)) == wanted

    @pytest.mark.parametrize("text", ["", "yesterday", None, 1366275180, "2013-13-01T00:00:00Z"])
    def test_what_is_no_time_stamp_is_refused(self, text: object) -> None:
        with pytest.raises(ValueError, match=r"time stamp|isoformat|month"):
            from_portal_time(text)


class TestClock:
    def test_a_clock_that_is_right(self) -> None:
        samples = collected(until_ms=NOON_MS, received_ms=NOON_MS + 3 * MINUTE_MS)
        finding = clock_check.check_clock(samples, NOON_MS + 10 * MINUTE_MS, QUARTER_MS)
        assert finding == (ClockState.RIGHT, 3 * MINUTE_MS, frozenset())

    def test_the_guides_example_clock_years_off(self) -> None:
        stamp = from_portal_time("2012-10-04T02:15:00.0Z")
        received = from_portal_time("2014-04-01T10:03:00.0Z")
        finding = clock_check.check_clock([sample(stamp, received)], received + 2 * MINUTE_MS, QUARTER_MS)
        assert finding is not None
        assert finding.state is ClockState.WRONG
        assert finding.doubtful == {(received, stamp)}

    @pytest.mark.parametrize("hours", [-2, -1, 1, 3])
    def test_the_guides_example_zone_off_by_whole_hours(self, hours: int) -> None:
        """Zone UTC+02:00 and summer time on the portal make 05:15 into 02:15 Z, where 04:15 Z was meant."""
        samples = collected(until_ms=NOON_MS, received_ms=NOON_MS + 3 * MINUTE_MS, error_ms=hours * HOUR_MS)
        finding = clock_check.check_clock(samples, NOON_MS + 10 * MINUTE_MS, QUARTER_MS)
        assert finding is not None
        assert finding.state is ClockState.ZONE
        assert len(finding.doubtful) == 4

    def test_a_ten_day_backlog_of_a_right_clock_is_not_doubted(self) -> None:
        samples = collected(until_ms=NOON_MS, received_ms=NOON_MS + 3 * MINUTE_MS, count=960)
        finding = clock_check.check_clock(samples, NOON_MS + 10 * MINUTE_MS, QUARTER_MS)
        assert finding is not None
        assert (finding.state, finding.doubtful) == (ClockState.RIGHT, frozenset())

    def test_what_lies_behind_a_jump_within_a_collection_was_stamped_before_the_clock_was_set(self) -> None:
        received = NOON_MS + 3 * MINUTE_MS
        samples = [sample(NOON_MS, received), sample(NOON_MS - 3 * HOUR_MS, received)]
        finding = clock_check.check_clock(samples, NOON_MS + 10 * MINUTE_MS, QUARTER_MS)
        assert finding is not None
        assert finding.state is ClockState.RIGHT
        assert finding.doubtful == {(received, NOON_MS - 3 * HOUR_MS)}

    def test_a_portal_ahead_of_us_is_doubted_itself(self) -> None:
        samples = collected(until_ms=NOON_MS, received_ms=NOON_MS + 3 * MINUTE_MS)
        finding = clock_check.check_clock(samples, NOON_MS - HOUR_MS, QUARTER_MS)
        assert finding is not None
        assert finding.state is ClockState.PORTAL

    def test_a_log_that_ended_within_the_hour_is_not_doubted(self) -> None:
        samples = collected(until_ms=NOON_MS, received_ms=NOON_MS + 48 * MINUTE_MS)
        for active, state in ((True, ClockState.ZONE), (False, ClockState.RIGHT)):
            finding = clock_check.check_clock(samples, NOON_MS + HOUR_MS, INTERVALS.longest_lag_ms(active=active))
            assert finding is not None
            assert finding.state is state

    def test_nothing_is_said_of_nothing(self) -> None:
        assert clock_check.check_clock([], NOON_MS, QUARTER_MS) is None


class TestSchedule:
    def test_each_controller_has_its_own_minute_between_ten_and_twenty_past_and_keeps_it(self) -> None:
        due = {serial: schedule.next_due_ms(str(serial), NOON_MS) for serial in range(10_000)}
        assert all(10 * MINUTE_MS <= moment - NOON_MS < 20 * MINUTE_MS for moment in due.values())
        assert all(schedule.next_due_ms(str(serial), due[serial]) == due[serial] + HOUR_MS for serial in due)

    def test_the_spread_is_even(self) -> None:
        per_minute = [0] * 10
        for serial in range(10_000):
            per_minute[schedule.jitter_ms(str(serial)) // MINUTE_MS] += 1
        assert max(per_minute) < 1.15 * min(per_minute)

    def test_the_next_moment_is_the_first_after_now(self) -> None:
        due = schedule.next_due_ms("1", NOON_MS)
        assert schedule.next_due_ms("1", due - 1) == due
        assert schedule.next_due_ms("1", due) == due + HOUR_MS

    def test_what_a_person_has_just_added_is_asked_within_a_minute_and_not_all_at_once(self) -> None:
        waits = [schedule.soon_due_ms(str(serial), NOON_MS) - NOON_MS for serial in range(1_000)]
        assert 0 <= min(waits) < 1_000
        assert MINUTE_MS - 1_000 < max(waits) < MINUTE_MS

    def test_failures_are_spaced_out_and_never_beyond_the_next_hour(self) -> None:
        waits = [schedule.retry_due_ms("1", NOON_MS, attempts) - NOON_MS for attempts in range(1, 12)]
        assert waits == sorted(waits)
        assert waits[0] >= MINUTE_MS
        assert waits[-1] <= schedule.next_due_ms("1", NOON_MS) - NOON_MS

    def test_the_portals_own_retry_is_kept_even_beyond_the_hour(self) -> None:
        assert schedule.retry_due_ms("1", NOON_MS, 1, 2 * HOUR_MS) == NOON_MS + 2 * HOUR_MS


class TestWindow:
    def test_a_device_that_was_never_read_is_read_from_its_creation_but_not_what_is_refused_as_too_old(self) -> None:
        assert window.beginning_ms(NOON_MS - DAY_MS, NOON_MS) == NOON_MS - DAY_MS - HOUR_MS
        for created in (None, NOON_MS - 3_000 * DAY_MS):
            assert NOON_MS - 400 * DAY_MS < window.beginning_ms(created, NOON_MS) < NOON_MS - 398 * DAY_MS

    def test_from_the_rearmost_channel_with_an_overlap(self) -> None:
        cursors = {"a": Cursor(NOON_MS, NOON_MS), "b": Cursor(NOON_MS, NOON_MS - DAY_MS)}
        assert window.from_ms(cursors, NOON_MS, 10 * DAY_MS) == NOON_MS - DAY_MS - HOUR_MS

    def test_a_channel_long_silent_does_not_hold_the_others_back_for_ever(self) -> None:
        cursors = {"a": Cursor(NOON_MS, NOON_MS), "b": Cursor(NOON_MS, NOON_MS - 90 * DAY_MS)}
        assert window.from_ms(cursors, NOON_MS, 10 * DAY_MS) == NOON_MS - 10 * DAY_MS - HOUR_MS

    def test_a_clock_that_ran_ahead_does_not_blind_us(self) -> None:
        cursors = {"a": Cursor(NOON_MS, NOON_MS + 300 * DAY_MS)}
        assert window.from_ms(cursors, NOON_MS, 10 * DAY_MS) == NOON_MS - HOUR_MS
        assert window.far_from_ms(cursors, NOON_MS, 10 * DAY_MS) == NOON_MS - 10 * DAY_MS - HOUR_MS

    def test_cursors_follow_the_order_of_receiving_not_the_time_stamps(self) -> None:
        before = {"1": Cursor(NOON_MS, NOON_MS + 3 * HOUR_MS)}
        samples = [sample(NOON_MS, NOON_MS + HOUR_MS), sample(NOON_MS + 3 * HOUR_MS, NOON_MS)]
        assert window.advanced(samples, before) == {"1": Cursor(NOON_MS + HOUR_MS, NOON_MS)}
        assert [window.is_new(one, before) for one in samples] == [True, False]

    def test_a_collection_that_was_cut_off_is_left_for_the_next_read(self) -> None:
        whole, cut = collected(until_ms=NOON_MS, received_ms=1), collected(until_ms=NOON_MS + HOUR_MS, received_ms=2)
        assert window.settled((*whole, *cut), complete=False) == tuple(whole)
        assert window.settled((*whole, *cut), complete=True) == (*whole, *cut)
        assert window.settled(tuple(whole), complete=False) == tuple(whole)

    def test_a_collection_inside_a_read_was_not_cut_off(self) -> None:
        around = [sample(NOON_MS - DAY_MS, 1), sample(NOON_MS + DAY_MS, 1)]
        late = collected(until_ms=NOON_MS, received_ms=2)
        samples = tuple(sorted([*around, *late], key=lambda one: one.timestamp_ms))
        assert window.settled(samples, complete=False) == samples


class TestGaps:
    def find(self, samples: list[Sample], kind: DeviceType, contacts: set[int] | None = None) -> list[Gap]:
        return gaps.find_gaps(samples, kind, frozenset(contacts or ()), INTERVALS)

    def test_a_full_series_has_no_hole(self) -> None:
        assert self.find(collected(until_ms=NOON_MS, received_ms=NOON_MS, count=960), DeviceType.LOG) == []

    def test_a_meter_out_of_reach(self) -> None:
        samples = [sample(NOON_MS), sample(NOON_MS + 5 * HOUR_MS)]
        wanted = [Gap("1", NOON_MS, NOON_MS + 5 * HOUR_MS, GapReason.NO_CONTACT)]
        assert self.find(samples, DeviceType.MBUS, {NOON_MS, NOON_MS + 5 * HOUR_MS}) == wanted

    def test_a_meter_that_is_silent_while_the_controller_answers(self) -> None:
        samples = [sample(NOON_MS), sample(NOON_MS + 5 * HOUR_MS)]
        (gap,) = self.find(samples, DeviceType.INPUT, {NOON_MS + 2 * HOUR_MS})
        assert gap.reason is GapReason.DEVICE_SILENT

    def test_a_log_that_was_overwritten(self) -> None:
        samples = [sample(NOON_MS), sample(NOON_MS + DAY_MS, NOON_MS + 11 * DAY_MS)]
        (gap,) = self.find(samples, DeviceType.LOG)
        assert gap.reason is GapReason.LOG_OVERWRITTEN

    def test_a_clock_set_forward(self) -> None:
        samples = [sample(NOON_MS, NOON_MS), sample(NOON_MS + 5 * HOUR_MS, NOON_MS + HOUR_MS)]
        (gap,) = self.find(samples, DeviceType.LOG)
        assert gap.reason is GapReason.CLOCK_CHANGED

    def test_each_channel_has_its_own_holes(self) -> None:
        samples = [sample(NOON_MS + n * QUARTER_MS, channel="a") for n in range(5)]
        samples += [sample(NOON_MS, channel="b"), sample(NOON_MS + HOUR_MS, channel="b")]
        (gap,) = self.find(samples, DeviceType.LOG)
        assert (gap.channel, gap.reason) == ("b", GapReason.NOT_LOGGED)


class TestElements:
    ROUTES: ClassVar = {
        "1": ChannelRoute("Temperatura exterior", Decimal(1)),
        "2": ChannelRoute("Energía térmica acumulada", Decimal(1_000)),
    }

    def test_what_a_gateway_would_have_sent(self) -> None:
        samples = [sample(NOON_MS, value=Decimal("8.310")), sample(NOON_MS, value=Decimal("1.5"), channel="2")]
        (element,) = elements.to_elements("heat-1", samples, self.ROUTES, frozenset())
        assert json.loads(element.body) == {
            "deviceNumber": "heat-1",
            "measures": [
                {
                    "timestamp": NOON_MS // 1_000,
                    "sensorValues": [
                        {"sensorName": "Temperatura exterior", "sensorValue": 8.31},
                        {"sensorName": "Energía térmica acumulada", "sensorValue": 1_500},
                    ],
                }
            ],
        }
        assert b"8.310" in element.body
        assert (element.measures, element.values, element.doubtful) == (1, 2, False)

    def test_at_most_a_hundred_measures_and_one_day(self) -> None:
        quarters = [sample(NOON_MS + n * QUARTER_MS, value=Decimal(n)) for n in range(960)]
        hours = [sample(NOON_MS + n * HOUR_MS, value=Decimal(n)) for n in range(240)]
        minutes = [sample(NOON_MS + n * MINUTE_MS, value=Decimal(n)) for n in range(250)]
        for samples, counts in ((quarters, [97] * 9 + [87]), (hours, [25] * 9 + [15]), (minutes, [100, 100, 50])):
            made = elements.to_elements("n", samples, self.ROUTES, frozenset())
            assert [element.measures for element in made] == counts

    def test_good_and_doubtful_clocks_travel_apart(self) -> None:
        samples = [sample(NOON_MS, value=Decimal(1)), sample(NOON_MS + QUARTER_MS, value=Decimal(2))]
        made = elements.to_elements("n", samples, self.ROUTES, frozenset({(NOON_MS, NOON_MS)}))
        assert sorted(element.doubtful for element in made) == [False, True]

    @pytest.mark.parametrize(
        ("value", "wanted"),
        [
            (Decimal("192.00"), "192.00"),
            (Decimal("1E+3"), "1000"),
            (Decimal("1E-9"), "0.000000001"),
            (Decimal("1E+400"), "1E+400"),
            ("open", '"open"'),
            ("\ud800", '"\\ud800"'),
            (None, "null"),
            (True, "true"),
            ([1], "[1]"),
            (Decimal("0." + "1" * 130), '"0.' + "1" * 130 + '"'),
        ],
    )
    def test_any_value_becomes_json_that_the_validator_can_check(self, value: Value, wanted: str) -> None:
        assert elements.json_value(value, ChannelRoute("s", Decimal(1))) == wanted
        json.loads(wanted)

    def test_channels_that_are_not_mapped_are_left_out(self) -> None:
        assert elements.to_elements("n", [sample(NOON_MS, channel="9")], self.ROUTES, frozenset()) == []
