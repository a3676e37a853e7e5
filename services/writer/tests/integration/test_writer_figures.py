"""What analysts read, on both flavours: hours, days, consumption, the state of a device, its gaps."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from metering_writer.testing_flavours import Storage

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
REGISTER, VOLTAGE, ROLLING = 1, 2, 3
Reading = tuple[datetime, float]

_devices = count(1)


class Meter:
    """A device of its own for each test, with a register, a voltage and a register that rolls over at 1000."""

    def __init__(self, storage: Storage, zone: str = "UTC", exchanges: Sequence[datetime] = ()) -> None:
        self._storage = storage
        self.id = next(_devices)
        marks = ", ".join(f"'{at.isoformat()}'" for at in exchanges)
        storage.execute(f"""
            INSERT INTO provider (id, name, active) VALUES (1, 'Instalaciones Sur', true) ON CONFLICT DO NOTHING;
            INSERT INTO sensor (id, position, name, unit, kind, rollover) VALUES
                ({REGISTER}, 1, 'Energía activa acumulada', 'kWh', 'accumulating', NULL),
                ({VOLTAGE}, 2, 'Voltaje A-N', 'V', 'instantaneous', NULL),
                ({ROLLING}, 3, 'Energía reactiva acumulada', 'kVArh', 'accumulating', 1000) ON CONFLICT DO NOTHING;
            INSERT INTO device (id, provider_id, number, zone, interval_seconds, sensors, meter_exchanges, active)
            VALUES ({self.id}, 1, 'M-{self.id}', '{zone}', 900, '{{1,2,3}}', ARRAY[{marks}]::timestamptz[], true)""")

    def reads(self, readings: Sequence[Reading], sensor: int = REGISTER, quality: int = 0) -> None:
        received = int((NOON + timedelta(days=1)).timestamp() * 1000) << 20
        values = ", ".join(
            f"('{at.isoformat()}', {value}, {received}, {self.id}, {sensor}, {quality})" for at, value in readings
        )
        self._storage.execute(
            f"INSERT INTO measurement (ts, value, rev, device_id, sensor_id, quality) VALUES {values}"
        )

    def hours(self, sensor: int = REGISTER) -> list[dict[str, Any]]:
        return self._figures("measurement_hourly", "bucket", sensor)

    def days(self, sensor: int = REGISTER) -> list[dict[str, Any]]:
        return self._figures("measurement_daily", "day", sensor)

    def consumption(self, sensor: int = REGISTER) -> list[float | None]:
        return [hour["consumption"] for hour in self.hours(sensor)]

    def _figures(self, view: str, order: str, sensor: int) -> list[dict[str, Any]]:
        self._storage.refresh()
        return self.unrefreshed(view, order, sensor)

    def unrefreshed(self, view: str, order: str, sensor: int) -> list[dict[str, Any]]:
        return self._storage.rows(
            f"SELECT * FROM {view} WHERE device_id = {self.id} AND sensor_id = {sensor} ORDER BY {order}"
        )


def test_values_have_names(either: Storage) -> None:
    meter = Meter(either)
    meter.reads([(NOON, 10512.25)])
    (row,) = either.rows(f"SELECT * FROM measurement_named WHERE device_number = 'M-{meter.id}'")
    names = ("Instalaciones Sur", "Energía activa acumulada", "kWh", 10512.25, 0)
    assert tuple(row[name] for name in ("provider", "sensor_name", "unit", "value", "quality")) == names
    assert datetime.fromisoformat(row["time"]) == NOON


def test_an_hour_has_mean_extremes_first_last_and_count(either: Storage) -> None:
    meter = Meter(either)
    meter.reads([(NOON + 10 * MINUTE, 231.0), (NOON, 229.0), (NOON + 59 * MINUTE, 227.0), (NOON + HOUR, 1.0)], VOLTAGE)
    hour = meter.hours(VOLTAGE)[0]
    figures = ("mean", "minimum", "maximum", "first_value", "last_value", "measures", "consumption")
    assert [hour[name] for name in figures] == [229.0, 227.0, 231.0, 229.0, 227.0, 3, None]


def test_what_a_faulty_sensor_sent_is_left_out(either: Storage) -> None:
    meter = Meter(either)
    meter.reads([(NOON, 100.0), (NOON + 2 * MINUTE, 103.0)])
    meter.reads([(NOON + MINUTE, 999999.0)], quality=3)
    (hour,) = meter.hours()
    assert (hour["consumption"], hour["maximum"], hour["measures"]) == (3.0, 103.0, 2)


def test_nothing_is_lost_between_hours(either: Storage) -> None:
    meter = Meter(either)
    meter.reads([(NOON + 7 * number * MINUTE, 100.0 + number) for number in range(40)])
    consumption = meter.consumption()
    assert len(consumption) == 5
    assert sum(value or 0 for value in consumption) == 39.0


def test_the_newest_hours_need_no_refresh(either: Storage) -> None:
    """What is computed at reading and what is kept say the same."""
    meter = Meter(either)
    tomorrow = NOON + timedelta(days=10_000 + meter.id)
    meter.reads([(tomorrow + 20 * number * MINUTE, 100.0 + number) for number in range(9)])
    fresh = meter.unrefreshed("measurement_hourly", "bucket", REGISTER)
    assert [hour["consumption"] for hour in fresh] == [2.0, 3.0, 3.0]
    assert meter.hours() == fresh


def test_an_hour_without_a_value_gives_its_consumption_to_the_next(either: Storage) -> None:
    meter = Meter(either)
    meter.reads([(NOON, 100.0), (NOON + 3 * HOUR, 130.0)])
    assert meter.consumption() == [0.0, 30.0]


@pytest.mark.parametrize(
    ("sensor", "values", "consumed"),
    [
        pytest.param(REGISTER, (100, 110, 3, 5), 15, id="reset"),
        pytest.param(ROLLING, (900, 990, 20, 30), 130, id="roll-over"),
        pytest.param(ROLLING, (300, 310, 20, 30), 40, id="reset-of-a-register-that-rolls-over"),
        pytest.param(ROLLING, (990, 10, 990, 10), 20 + 980 + 20, id="roll-over-twice"),
        pytest.param(REGISTER, (9, 8, 7, 6, 5, 4, 3), 8 + 7 + 6 + 5 + 4 + 3, id="more-falls-than-are-kept"),
    ],
)
@pytest.mark.parametrize("step", [MINUTE, HOUR], ids=["within-an-hour", "between-hours"])
def test_consumption_is_right_across(
    either: Storage, step: timedelta, sensor: int, values: Sequence[float], consumed: float
) -> None:
    meter = Meter(either)
    meter.reads([(NOON + number * step, value) for number, value in enumerate(values)], sensor)
    assert sum(value or 0 for value in meter.consumption(sensor)) == consumed


@pytest.mark.parametrize("step", [MINUTE, HOUR], ids=["within-an-hour", "between-hours"])
@pytest.mark.parametrize(("new", "consumed"), [((2, 5), 15), ((112, 115), 125)], ids=["lower", "higher"])
def test_after_a_meter_exchange_the_register_starts_at_0(
    either: Storage, step: timedelta, new: tuple[float, float], consumed: float
) -> None:
    meter = Meter(either, exchanges=[NOON + step + MINUTE / 2])
    values = (100, 110, *new)
    meter.reads([(NOON + number * step, value) for number, value in enumerate(values)])
    assert sum(value or 0 for value in meter.consumption()) == consumed


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
    meter.reads([(day + number * 15 * MINUTE, float(number)) for number in range(-192, 288)])
    found = {row["day"]: row for row in meter.days()}
    chosen = found[day.date().isoformat()]
    assert (chosen["measures"], chosen["consumption"]) == (4 * hours, 4 * hours)
    local = datetime.fromisoformat(str(chosen["first_at"])).astimezone(ZoneInfo(zone))
    assert local.date() == day.date()


def test_a_day_has_the_figures_of_its_hours(either: Storage) -> None:
    meter = Meter(either)
    meter.reads([(NOON, 1.0), (NOON + MINUTE, 2.0), (NOON + HOUR, 6.0)], VOLTAGE)
    (day,) = meter.days(VOLTAGE)
    figures = ("mean", "minimum", "maximum", "first_value", "last_value", "measures", "consumption")
    assert [day[name] for name in figures] == [3.0, 1.0, 6.0, 1.0, 6.0, 3, None]


def test_gaps_are_the_missing_intervals(either: Storage) -> None:
    meter = Meter(either)
    quarters = [0, 1, 2, 6, 7, 9]
    meter.reads([(NOON + number * 15 * MINUTE, 1.0) for number in quarters])
    since, upto = (NOON - 30 * MINUTE).isoformat(), (NOON + 3 * HOUR).isoformat()
    found = either.rows(f"SELECT * FROM measurement_gap({meter.id}, '{since}', '{upto}')")
    gaps = [(datetime.fromisoformat(gap["gap_from"]), gap["missing"]) for gap in found]
    assert gaps == [
        (NOON - 30 * MINUTE, 2),
        (NOON + 45 * MINUTE, 3),
        (NOON + 2 * HOUR, 1),
        (NOON + 150 * MINUTE, 2),
    ]


def test_a_device_that_was_silent_has_one_gap(either: Storage) -> None:
    meter = Meter(either)
    since, upto = NOON.isoformat(), (NOON + HOUR).isoformat()
    (gap,) = either.rows(f"SELECT * FROM measurement_gap({meter.id}, '{since}', '{upto}')")
    assert gap["missing"] == 4


def test_the_state_of_a_device(either: Storage) -> None:
    """Half of a day's quarters came; the extra measures of one hour do not make up for another."""
    meter = Meter(either)
    now = NOON + timedelta(days=1)
    came = [NOON + number * 15 * MINUTE for number in range(48)] + [
        NOON + number * MINUTE + MINUTE / 2 for number in range(9)
    ]
    meter.reads([(at, 1.0) for at in came])
    either.refresh()
    (state,) = either.rows(f"SELECT * FROM device_status_at('{now.isoformat()}') WHERE device_id = {meter.id}")
    assert state["completeness_day"] == pytest.approx(0.5)
    assert state["completeness_week"] == pytest.approx(0.5 / 7)
    assert datetime.fromisoformat(state["last_measured_at"]) == NOON + 47 * 15 * MINUTE
    assert state["delay"] == "12:15:00"
    assert either.rows(f"SELECT device_number FROM device_status WHERE device_id = {meter.id}")
