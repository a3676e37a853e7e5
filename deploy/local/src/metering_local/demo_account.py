"""Whether everything that the demo sent is accounted for and adds up: the end of the way of its measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import asyncpg

from metering_common.postgres.queries import load_queries
from metering_local.demo_house import BAD_MEASURES, ENERGY, House
from metering_local.demo_site import Site

TOLERANCE_KWH = Decimal("0.000001")
QUERIES = load_queries("metering_local", "demo.sql")


@dataclass(frozen=True)
class Account:
    """What the gateway says it sent, what the ledger says became of it, and the energy per meter and day."""

    sent_measures: int
    sent_values: int
    repeats: int
    requests: int
    ledger: Mapping[str, Any]
    refusals: list[Mapping[str, Any]]
    energy: dict[tuple[str, date], Decimal]


async def read_account(connection: "asyncpg.Connection[Any]", site: Site, summary: Mapping[str, Any]) -> Account:
    """Ask the database; `summary` is what metering-gateway printed with --json."""
    ids = list(site.devices.values())
    numbers = {device: number for number, device in site.devices.items()}
    ledger = await connection.fetchrow(QUERIES["account"], site.provider, ids)
    energy = await connection.fetch(QUERIES["energy"], ids, ENERGY)
    return Account(
        sent_measures=summary["total"]["sent_measures"],
        sent_values=summary["total"]["sent_values"],
        repeats=summary["repeats"],
        requests=summary["requests"],
        ledger=dict(ledger or {}),
        refusals=[dict(row) for row in await connection.fetch(QUERIES["refusals"], site.provider)],
        energy={(numbers[row["device_id"]], row["day"]): Decimal(row["consumption"]) for row in energy},
    )


def faults(account: Account, house: House) -> list[str]:
    """Every sentence of the account that does not hold; none means that it closes and agrees with the file."""
    return [*_unsent(account, house), *_unbalanced(account), *_unequal(account, house)]


def _unsent(account: Account, house: House) -> list[str]:
    refused = sum(bad.taken for bad in BAD_MEASURES)
    expected = {
        "measures sent": (account.sent_measures, house.measures + len(BAD_MEASURES)),
        "values sent": (account.sent_values, house.values + len(BAD_MEASURES)),
        "values stored": (account.ledger["stored"], house.values),
        "records dead": (account.ledger["dead"], 0),
    }
    if account.repeats == 0:  # a repeated request may be in the ledger twice, though never in the rows
        expected |= {
            "values in the ledger": (account.ledger["values"], account.sent_values),
            "values refused": (account.ledger["refused"], refused),
            "values not taken": (account.ledger["not_taken"], len(BAD_MEASURES) - refused),
        }
    return [f"{what}: {has}, not {wanted}" for what, (has, wanted) in expected.items() if has != wanted]


def _unbalanced(account: Account) -> list[str]:
    """Invariant 1, added up here and not taken from anybody."""
    ledger = account.ledger
    validated = sum(ledger[part] for part in ("accepted", "refused", "not_taken", "repeated"))
    stored = sum(ledger[part] for part in ("written", "corrected", "present", "superseded"))
    groups = sum(group["count"] for group in account.refusals)
    sums = {
        "values are accepted + refused + not taken + repeated": (ledger["values"], validated),
        "accepted are written + corrected + present + superseded": (ledger["accepted"], stored),
        "refused are the refusals by rule": (ledger["refused"], groups),
        "rows are those written": (ledger["stored"], ledger["written"]),
    }
    return [f"{invariant}: {left} is not {right}" for invariant, (left, right) in sums.items() if left != right]


def _unequal(account: Account, house: House) -> list[str]:
    none = Decimal(0)
    both = {
        place: (account.energy.get(place, none), house.energy.get(place, none))
        for place in sorted(house.energy.keys() | account.energy.keys())
    }
    return [
        f"energy of {number} on {day}: {stored} kWh in SQL, {filed} kWh in the file"
        for (number, day), (stored, filed) in both.items()
        if abs(stored - filed) > TOLERANCE_KWH
    ]
