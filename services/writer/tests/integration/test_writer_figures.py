"""What analysts read, on both flavours: quarters, hours, days, months, consumption, demand, states and gaps."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from metering_writer.testing_flavours import Storage

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
REGISTER, VOLTAGE, ROLLING, NET, DAILY = 1, 2, 3, 4, 5
Reading = tuple[datetime, float]

_devices = count(1)


class Meter:
    """A device of its own for each test, with registers of each kind and a voltage."""

    def __init__(self, storage: Storage, zone: str = "UTC", interval: int | None = 900) -> None:
        self._storage = storage
        self.id = next(_devices)
        storage.execute(f"""
            INSERT INTO provider (id, name, active) VALUES (1, 'Instalaciones Sur', true) ON CONFLICT DO NOTHING;
            INSERT INTO sensor (id, position, name, unit, kind, capacity, interval_seconds) VALUES
                ({REGISTER}, 1, 'Energía activa acumulada', 'kWh', 'accumulating', NULL, NULL),
                ({VOLTAGE}, 2, 'Voltaje A-N', 'V', 'instantaneous', NULL, NULL),
                ({ROLLING}, 3, 'Energía reactiva acumulada', 'kVArh', 'accumulating', 100000, NULL),
                ({NET}, 4, 'Energía neta', 'kWh', 'net', NULL, NULL),
                ({DAILY}, 5, 'Agua', 'm3', 'accumulating', NULL, 86400) ON CONFLICT DO NOTHING;
            INSERT INTO device (id, provider_id, number, zone, interval_seconds, sensors, active)
            VALUES ({self.id}, 1, 'M-{self.id}', '{zone}', {interval or "NULL"}, '{{1,2,3,4,5}}', true)""")

    def reads(self, readings: Sequence[Reading], sensor: int = REGISTER, quality: int = 0) -> None:
        """As the writer stores them, with its note."""
        received = int((NOON + DAY).timestamp() * 1000) << 20
        values = ", ".join(
            f"('{at.isoformat()}', {value}, {received}, {self.id}, {sensor}, {quality})" for at, value in readings
        )
        since, upto = min(at for at, _ in readings).isoformat(), max(at for at, _ in readings).isoformat()
        self._storage.execute(f"""
            INSERT INTO measurement (ts, value, rev, device_id, sensor_id, quality) VALUES {values}
                ON CONFLICT (device_id, ts, sensor_id) DO UPDATE SET value = excluded.value, quality = excluded.quality;
            INSERT INTO register_note (since, upto, device_id, sensors, received_at)
                VALUES ('{since}', '{upto}', {self.id}, '{{{sensor}}}', '{(NOON + DAY).isoformat()}')""")

    def series(self, values: Sequence[float], sensor: int = REGISTER, step: timedelta = 15 * MINUTE) -> None:
        """One reading after another from noon on."""
        self.reads([(NOON + number * step, value) for number, value in enumerate(values)], sensor)

    def exchanged(self, at: datetime, closing: float | None, opening: float | None) -> None:
        known = ", ".join("NULL" if value is None else str(value) for value in (closing, opening))
        self._storage.execute(f"INSERT INTO meter_exchange VALUES ({self.id}, {REGISTER}, '{at.isoformat()}', {known})")

    def figures(self, view: str, sensor: int = REGISTER) -> list[dict[str, Any]]:
        self._storage.refresh()
        order = "day" if view.startswith("demand") else "bucket"
        return self._storage.rows(
            f"SELECT * FROM {view} WHERE device_id = {self.id} AND sensor_id = {sensor} ORDER BY {order}"
        )

    def consumption(self, view: str = "measurement_hourly", sensor: int = REGISTER) -> list[float]:
        return [row["consumption"] for row in self.figures(view, sensor)]

    def whole(self, sensor: int = REGISTER) -> float:
        return sum(self.consumption("measurement_hourly", sensor))

    def status(self, instant: datetime) -> dict[str, Any]:
        self._storage.refresh()
        at = f"device_status_at('{instant.isoformat()}')"
        (state,) = self._storage.rows(f"SELECT * FROM {at} WHERE device_id = {self.id}")
        return state

    def gaps(self, since: datetime, upto: datetime) -> list[tuple[datetime, int]]:
        found = self._storage.rows(
            f"SELECT * FROM measurement_gap({self.id}, '{since.isoformat()}', '{upto.isoformat()}')"
        )
        return [(datetime.fromisoformat(gap["gap_from"]), gap["missing"]) for gap in found]


def test_values_have_names(either: Storage) -> None:
    meter = Meter(either)
    meter.series([10512.25])
    (row,) = either.rows(f"SELECT * FROM measurement_named WHERE device_number = 'M-{meter.id}'")
    names = ("Instalaciones Sur", "Energía activa acumulada", "kWh", 10512.25, 0)
    assert tuple(row[name] for name in ("provider", "sensor_name", "unit", "value", "quality")) == names
    assert datetime.fromisoformat(row["time"]) == NOON


def test_an_hour_has_mean_extremes_first_last_and_count(either: Storage) -> None:
    """What is read on the edge belongs to the hour that ends there."""
    meter = Meter(either)
    meter.reads([(NOON + 10 * MINUTE, 231.0), (NOON, 1.0), (NOON + 59 * MINUTE, 227.0), (NOON + HOUR, 229.0)], VOLTAGE)
    before, hour = meter.figures("measurement_hourly", VOLTAGE)
    names = ("mean", "minimum", "maximum", "first_value", "last_value", "measures", "consumption")
    assert [hour[name] for name in names] == [229.0, 227.0, 231.0, 231.0, 229.0, 3, None]
    assert before["measures"] == 1


def test_a_mean_by_time_holds_a_value_until_the_next(either: Storage) -> None:
    """A meter that reports only changes: 2.9 kW for a minute, else 0.05."""
    meter = Meter(either, interval=None)
    meter.reads([(NOON, 0.05), (NOON + 30 * MINUTE, 5.75), (NOON + 31 * MINUTE, 0.05), (NOON + HOUR, 0.05)], VOLTAGE)
    hour = meter.figures("measurement_hourly", VOLTAGE)[1]
    assert hour["mean_by_time"] == pytest.approx((5.75 + 59 * 0.05) / 60)
    assert hour["mean"] == pytest.approx((5.75 + 0.05 + 0.05) / 3)


def test_a_value_holds_for_three_intervals_at_most(either: Storage) -> None:
    meter = Meter(either, interval=300)
    meter.reads([(NOON, 1.0), (NOON + 30 * MINUTE, 4.0), (NOON + 2 * HOUR, 0.0)], VOLTAGE)
    hour = meter.figures("measurement_hourly", VOLTAGE)[1]
    assert hour["mean_by_time"] == pytest.approx((15 * 1.0 + 15 * 4.0) / 30)


def test_what_a_faulty_sensor_sent_is_left_out(either: Storage) -> None:
    meter = Meter(either)
    meter.series([100.0, 103.0])
    meter.reads([(NOON + MINUTE, 999999.0)], quality=3)
    *_, hour = meter.figures("measurement_hourly")
    assert (hour["consumption"], hour["maximum"], hour["measures"]) == (3.0, 103.0, 1)


@pytest.mark.parametrize(
    ("sensor", "values", "right", "adjusted", "provisional"),
    [
        (REGISTER, (42255.60, 42255.67, 42255.63, 42255.70), 0.10, True, False),
        (REGISTER, (3736, 3737, 0, 3746), 10, True, True),
        (REGISTER, (810, 812.4, 811.9, 812.6), 2.6, True, False),
        (REGISTER, (100, 100.5, 4294967.295, 101), 1, True, True),
        (REGISTER, (1234.0, 1234.5, 1235000, 1235.5), 1.5, True, True),
        (NET, (5000, 4999.5, 4999, 4998.5), -1.5, False, False),
        (ROLLING, (80000, 80000.5, 0.2, 0.7), 0.5, True, True),
        (ROLLING, (80000, 80000.5, 0.2, 0.7, 0.7, 0.7), 1.2, True, False),
        (ROLLING, (99999.5, 0.7), 1.2, True, True),
        (ROLLING, (42255.67, 42255.63), 0, True, False),
    ],
)
def test_a_register_counts_what_is_right(
    either: Storage, sensor: int, values: Sequence[float], right: float, *, adjusted: bool, provisional: bool
) -> None:
    meter = Meter(either)
    meter.series(values, sensor)
    days = meter.figures("measurement_daily", sensor)
    assert sum(day["consumption"] for day in days) == pytest.approx(right, abs=1e-9)
    assert (days[-1]["adjusted"], days[-1]["provisional"]) == (adjusted, provisional)


@pytest.mark.parametrize(
    ("closing", "opening", "right"), [(None, None, 2), (801.5, None, 2.5), (None, 12344, 3), (801.5, 12344, 3.5)]
)
def test_an_exchange_counts_what_is_known_of_it(
    either: Storage, closing: float | None, opening: float | None, right: float
) -> None:
    meter = Meter(either)
    meter.series((800, 801, 12345, 12346))
    assert meter.whole() == 11546
    meter.exchanged(NOON + 20 * MINUTE, closing, opening)
    assert meter.whole() == pytest.approx(right)
    meter.series((800, 801, 802, 803), ROLLING)
    assert meter.whole(ROLLING) == 3


def test_what_is_read_on_the_edge_belongs_to_the_period_that_ends_there(either: Storage) -> None:
    meter = Meter(either)
    meter.series([0.0, 5.0, 15.0, 15.0], step=HOUR)
    assert meter.consumption() == [0.0, 5.0, 10.0, 0.0]


def test_quarters_divide_what_was_read_at_other_times(either: Storage) -> None:
    """Seven kWh an hour, then four, read in the middle of quarters: the register at an edge is interpolated."""
    meter = Meter(either)
    meter.reads([(NOON - 7 * MINUTE + number * 15 * MINUTE, number * 1.5) for number in range(6)])
    assert meter.consumption("measurement_quarter")[1:-1] == pytest.approx([1.5] * 4)
    assert sum(meter.consumption("measurement_quarter")) == pytest.approx(7.5)


def test_silent_hours_are_spread_and_marked(either: Storage) -> None:
    meter = Meter(either, interval=3_600)
    meter.reads([(NOON, 100.0), (NOON + HOUR, 101.0), (NOON + 6 * HOUR, 111.0)])
    hours = meter.figures("measurement_hourly")[1:]
    assert [hour["consumption"] for hour in hours] == pytest.approx([1, 2, 2, 2, 2, 2])
    assert [hour["estimated"] for hour in hours] == pytest.approx([0, 2, 2, 2, 2, 2])
    assert [hour["estimated_time"] for hour in hours] == ["00:00:00", *["01:00:00"] * 5]
    assert not any(hour["adjusted"] for hour in hours)


def test_nothing_is_known_to_be_estimated_without_an_interval(either: Storage) -> None:
    meter = Meter(either, interval=None)
    meter.series([1.0, 2.0], step=5 * HOUR)
    assert {hour["estimated"] for hour in meter.figures("measurement_hourly")} == {None}


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Copenhagen", datetime(2026, 3, 29, tzinfo=UTC), 23),
        ("Europe/Copenhagen", datetime(2026, 10, 25, tzinfo=UTC), 25),
        ("America/Santiago", datetime(2026, 4, 4, tzinfo=UTC), 25),
        ("America/Santiago", datetime(2026, 9, 6, tzinfo=UTC), 23),
        ("America/Santiago", datetime(2026, 7, 1, tzinfo=UTC), 24),
    ],
)
def test_days_are_the_devices_own(either: Storage, zone: str, day: datetime, hours: int) -> None:
    """One kWh in every quarter of an hour, read at its end, from two days before to two days after."""
    meter = Meter(either, zone=zone)
    meter.reads([(day + number * 15 * MINUTE, float(number + 192)) for number in range(-192, 288)])
    chosen = {row["day"]: row for row in meter.figures("measurement_daily")}[day.date().isoformat()]
    assert (chosen["measures"], chosen["consumption"]) == (4 * hours, 4 * hours)


def test_a_register_read_at_local_midnight_gives_the_day_that_ends(either: Storage) -> None:
    meter = Meter(either, zone="America/Santiago")
    midnight = datetime(2026, 6, 1, 4, tzinfo=UTC)
    meter.reads([(midnight + number * DAY, 10.0 * number) for number in range(4)], DAILY)
    days = {row["day"]: row["consumption"] for row in meter.figures("measurement_daily", DAILY)}
    assert days == {"2026-05-31": 0.0, "2026-06-01": 10.0, "2026-06-02": 10.0, "2026-06-03": 10.0}


def test_months_are_the_devices_own(either: Storage) -> None:
    meter = Meter(either, zone="America/Santiago")
    midnight = datetime(2026, 3, 1, 3, tzinfo=UTC)
    meter.reads([(midnight + number * HOUR, float(number)) for number in range(0, 24 * 62, 6)])
    months = {row["day"]: row["consumption"] for row in meter.figures("measurement_monthly")}
    assert months["2026-03-01"] == 31 * 24
    assert months["2026-04-01"] == pytest.approx(30 * 24 + 1)


def test_every_cut_adds_up(either: Storage) -> None:
    meter = Meter(either, zone="Europe/Copenhagen")
    meter.reads([(NOON + number * 7 * MINUTE, number * 1.1) for number in range(500)])
    views = ("measurement_quarter", "measurement_hourly", "measurement_daily", "measurement_monthly")
    assert [sum(meter.consumption(view)) for view in views] == pytest.approx([499 * 1.1] * 4, rel=1e-9)


def test_demand_is_the_highest_quarter_with_its_time(either: Storage) -> None:
    meter = Meter(either)
    meter.series([0.0, 1.0, 3.5, 4.0, 5.0])
    (demand,) = meter.figures("demand_daily")
    assert demand["demand"] == 10.0
    assert datetime.fromisoformat(demand["demand_at"]) == NOON + 15 * MINUTE
    assert meter.figures("demand_monthly")[0]["demand"] == 10.0


def test_late_and_corrected_readings_change_the_figures(either: Storage) -> None:
    meter = Meter(either, interval=3_600)
    meter.reads([(NOON, 100.0), (NOON + 3 * HOUR, 130.0), (NOON + 4 * HOUR, 131.0)])
    assert meter.consumption() == pytest.approx([0.0, 10.0, 10.0, 10.0, 1.0])
    meter.reads([(NOON + 2 * HOUR, 125.0)])
    assert meter.consumption() == pytest.approx([0.0, 12.5, 12.5, 5.0, 1.0])
    meter.reads([(NOON + 2 * HOUR, 101.0)])
    assert meter.consumption() == pytest.approx([0.0, 0.5, 0.5, 29.0, 1.0])


def test_a_change_of_the_registry_changes_the_past(either: Storage) -> None:
    meter = Meter(either)
    meter.series((100, 900, 901, 902, 903))
    assert meter.whole() == 803
    either.execute(f"INSERT INTO device_maximum_rate VALUES ({meter.id}, {REGISTER}, 10)")
    assert meter.whole() == 3
    either.execute(f"DELETE FROM device_maximum_rate WHERE device_id = {meter.id}")
    assert meter.whole() == 803


def test_gaps_are_the_intervals_without_a_reading(either: Storage) -> None:
    meter = Meter(either)
    meter.reads([(NOON + number * 15 * MINUTE, 1.0) for number in (0, 1, 2, 6, 7, 9)])
    gaps = [(NOON - 30 * MINUTE, 1), (NOON + 30 * MINUTE, 3), (NOON + 105 * MINUTE, 1), (NOON + 135 * MINUTE, 3)]
    assert meter.gaps(NOON - 30 * MINUTE, NOON + 3 * HOUR) == gaps


def test_varying_minutes_make_no_gap(either: Storage) -> None:
    meter = Meter(either, interval=3_600)
    meter.reads([(NOON + number * HOUR + minute * MINUTE, 1.0) for number, minute in enumerate((50, 5, 59, 1, 58, 2))])
    assert meter.gaps(NOON, NOON + 6 * HOUR) == []
    assert meter.status(NOON + 6 * HOUR)["completeness_day"] == pytest.approx(6 / 24)


def test_half_the_interval_hides_no_silence(either: Storage) -> None:
    meter = Meter(either)
    meter.reads([(NOON + number * 7.5 * MINUTE, 1.0) for number in range(1, 5)])
    assert meter.gaps(NOON, NOON + HOUR) == [(NOON + 30 * MINUTE, 2)]
    assert meter.status(NOON + HOUR)["completeness_day"] == pytest.approx(2 / 96)


def test_a_reading_before_the_window_makes_no_gap(either: Storage) -> None:
    meter = Meter(either)
    meter.reads([(NOON - MINUTE / 60 + number * 15 * MINUTE, 1.0) for number in range(5)])
    assert meter.gaps(NOON, NOON + HOUR) == []


def test_a_device_that_was_silent_has_one_gap(either: Storage) -> None:
    meter = Meter(either)
    assert meter.gaps(NOON, NOON + HOUR) == [(NOON, 4)]


def test_the_state_of_a_device(either: Storage) -> None:
    """Half of a day's quarters came; the extra measures of one hour do not make up for another."""
    meter = Meter(either)
    now = NOON + DAY
    came = [NOON + number * 15 * MINUTE for number in range(1, 49)]
    came += [NOON + number * MINUTE + MINUTE / 2 for number in range(9)]
    meter.reads([(at, 1.0) for at in came])
    state = meter.status(now)
    assert state["completeness_day"] == pytest.approx(0.5)
    assert state["completeness_week"] == pytest.approx(0.5 / 7)
    assert datetime.fromisoformat(state["last_measured_at"]) == NOON + 12 * HOUR
    assert state["delay"] == "12:00:00"


def test_the_kept_state_is_the_one_worked_out(either: Storage) -> None:
    """Whatever hour it is: both forget and expect the same intervals."""
    meter = Meter(either)
    (now,) = either.rows("SELECT date_trunc('hour', now()) AS hour")
    hour = datetime.fromisoformat(now["hour"])
    meter.reads([(hour - number * 15 * MINUTE, 1.0) for number in range(1, 700) if number % 7])
    kept = "SELECT completeness_day, completeness_week, completeness_month, last_measured_at FROM"
    either.refresh()
    found = either.rows(f"{kept} device_status WHERE device_id = {meter.id}")
    assert found == either.rows(f"{kept} device_status_at('{hour.isoformat()}') WHERE device_id = {meter.id}")
    assert 0.8 < found[0]["completeness_day"] < 0.9
