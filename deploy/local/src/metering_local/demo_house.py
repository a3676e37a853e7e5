"""The demo's data: a real house's two days, and what they must add up to; where a demonstrated measure begins."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from metering_local.checkout import DATA

FILE = DATA / "household_power_2007-02-01_02.csv"
ZONE = "Etc/GMT-1"
ENERGY = "Energía activa acumulada"
INTERVAL_SECONDS = 60


@dataclass(frozen=True)
class Column:
    """A column of the file as a sensor: its value, or with `register` the running sum, divided by `divide`."""

    name: str
    sensor: str
    divide: int = 1
    register: bool = False

    def document(self) -> dict[str, Any]:
        """In the words of metering-gateway's mapping file. A running register begins at 0, a minute before."""
        register = {"register": True, "start": 0, "startSecondsBefore": INTERVAL_SECONDS} if self.register else {}
        return {"column": self.name, "sensor": self.sensor, "divide": self.divide, **register}


METERS: dict[str, tuple[Column, ...]] = {
    "house": (
        Column("Global_active_power", "Potencia activa total instantánea"),
        Column("Global_reactive_power", "Potencia reactiva total instantánea"),
        Column("Voltage", "Voltaje A-N"),
        Column("Global_intensity", "Corriente A"),
        Column("Global_active_power", ENERGY, divide=60, register=True),  # kW over a minute
    ),
    "kitchen": (Column("Sub_metering_1", ENERGY, divide=1000, register=True),),  # Wh in the minute
    "laundry": (Column("Sub_metering_2", ENERGY, divide=1000, register=True),),
    "water-heater": (Column("Sub_metering_3", ENERGY, divide=1000, register=True),),
}
"""The house's main meter and its three sub-meters, as data/README.md explains the columns."""


@dataclass(frozen=True)
class BadMeasure:
    """A value that must not be stored, sent among the good ones; at `offset` from now, or beside a good one."""

    why: str
    sensor: str
    value: str
    offset: timedelta
    taken: bool = True
    """False: a known sensor that is not on the device's list, which is no error."""


BAD_MEASURES = (
    BadMeasure("a sensor that is in no dictionary", "Corriente Z", "1", timedelta(hours=-3)),
    BadMeasure("text instead of a number", "Voltaje A-N", "n/a", timedelta(hours=-4)),
    BadMeasure("two hours in the future", "Voltaje A-N", "241.3", timedelta(hours=2)),
    BadMeasure("500 days old", "Voltaje A-N", "239.9", timedelta(days=-500)),
    BadMeasure("a sensor that is not on this meter's list", "Corriente B", "1.4", timedelta(hours=-5), taken=False),
)


def mapping() -> str:
    """The mapping file that metering-gateway replays the house with."""
    devices = [
        {"number": number, "sensors": [column.document() for column in columns]} for number, columns in METERS.items()
    ]
    time = {"columns": ["Date", "Time"], "format": "%d/%m/%Y %H:%M:%S", "zone": ZONE}
    return json.dumps({"delimiter": ";", "missing": ["?"], "time": time, "devices": devices}, ensure_ascii=False)


@dataclass(frozen=True)
class Silence:
    """An hour in which a meter is not heard; its register goes on, so that the next row has it all."""

    number: str = "water-heater"
    column: str = "Sub_metering_3"
    day: str = "1/2/2007"
    hour: str = "09"
    measures: int = 60


@dataclass(frozen=True)
class Dip:
    """A single 0 that a register shows for a moment at noon of the last day, between two readings."""

    number: str = "kitchen"
    sensor: str = ENERGY
    before_midnight: timedelta = timedelta(hours=12) - timedelta(seconds=30)


SILENCE, DIP = Silence(), Dip()


def disturbed(file: Path = FILE) -> str:
    """The file as the platform gets it: with the silent hour, and with what was used in it in the row after it."""
    header, *lines = file.read_text("utf-8").splitlines()
    place = header.split(";").index(SILENCE.column)
    unheard, sent = Decimal(0), [header]
    for line in lines:
        cells = line.split(";")
        if cells[0] == SILENCE.day and cells[1].startswith(f"{SILENCE.hour}:"):
            unheard, cells[place] = unheard + Decimal(cells[place]), "?"
        elif unheard:
            unheard, cells[place] = Decimal(0), str(unheard + Decimal(cells[place]))
        sent.append(";".join(cells))
    return "\n".join(sent) + "\n"


@dataclass(frozen=True)
class House:
    """What the file says: kWh per meter and day (the file's days moved to end yesterday), and how much is sent."""

    energy: dict[tuple[str, date], Decimal]
    measures: int
    values: int


def read_house(today: date, file: Path = FILE) -> House:
    """Reckon from the file alone what the platform must come to. `today` is the day in the house's zone.

    A row says what was used in the minute before it: the first one belongs to the day before.
    """
    rows = [((at - timedelta(seconds=INTERVAL_SECONDS)).date(), row) for at, row in _rows(file)]
    shift = today - timedelta(days=1) - max(day for day, _ in rows)
    energy: dict[tuple[str, date], Decimal] = {}
    for number, columns in METERS.items():
        register = next(column for column in columns if column.register)
        for day, row in rows:
            place = (number, day + shift)
            energy[place] = energy.get(place, Decimal(0)) + Decimal(row[register.name]) / register.divide
    columns_per_row = sum(len(columns) for columns in METERS.values())
    starts = len(METERS)
    others = starts + 1 - SILENCE.measures  # the dip is one measure of one value
    return House(energy, len(rows) * len(METERS) + others, len(rows) * columns_per_row + others)


def today_at_the_house() -> date:
    return datetime.now(UTC).astimezone(ZoneInfo(ZONE)).date()


def _rows(file: Path) -> Iterator[tuple[datetime, dict[str, str]]]:
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines, delimiter=";"):
            yield datetime.strptime(f"{row['Date']} {row['Time']}", "%d/%m/%Y %H:%M:%S"), row  # noqa: DTZ007  the house's own
