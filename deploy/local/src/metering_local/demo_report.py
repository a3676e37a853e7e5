"""What the demo prints: the account of its measures, the energy twice, and where to look next."""

from dataclasses import dataclass
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from metering_local.demo_account import Account, faults
from metering_local.demo_heat import Heat
from metering_local.demo_house import House
from metering_local.demo_site import Site
from metering_local.stack import Stack


@dataclass(frozen=True)
class Told:
    """All that a demo has to tell."""

    site: Site
    account: Account
    house: House
    heat: Heat

    def faults(self) -> list[str]:
        """Every sentence that does not hold."""
        stored, portal = self.heat.stored_samples, self.heat.portal_samples
        missing = [f"heating moments stored: {stored}, the portal has {portal}"] if stored != portal else []
        return [*faults(self.account, self.house), *missing]


def print_report(console: Console, stack: Stack, told: Told) -> bool:
    """The tables, then a sentence that says whether all is well, then what to look at; whether all is well."""
    account = told.account
    console.print(f"\n[bold]{told.site.name}[/]: two days of a real house, over HTTP through {stack.api_url}\n")
    for table in (_account_table(account), _refusal_table(account), _energy_table(account, told.house)):
        console.print(table)
    seconds = account.ledger["seconds"]
    console.print(f"\nFrom the first request to the last row: {seconds:.1f} s, {account.requests} requests.")
    _print_heat(console, told.heat)
    wrong = told.faults()
    for fault in wrong:
        console.print(f"[red]{fault}[/]", highlight=False)
    if wrong:
        console.print("\n[bold red]The account does not close.[/]\n")
    else:
        console.print("\n[bold green]The account closes, and the energy agrees with the file to 1e-6 kWh.[/]\n")
    _print_next(console, stack, told)
    return not wrong


def _account_table(account: Account) -> Table:
    table = Table("values", "", title="What became of it", title_justify="left", box=None)
    ledger = account.ledger
    rows = {
        "sent": f"{account.sent_values} in {account.sent_measures} measures",
        "accepted": ledger["accepted"],
        "stored": ledger["stored"],
        "refused": ledger["refused"],
        "not taken": f"{ledger['not_taken']} (not on the meter's list)",
        "repeated": ledger["repeated"],
    }
    for name, count in rows.items():
        table.add_row(name, str(count))
    return table


def _refusal_table(account: Account) -> Table:
    table = Table("rule", "sensor", "values", "for example", title="\nRefused", title_justify="left", box=None)
    for group in account.refusals:
        table.add_row(group["rule"], group["sensor_name"], str(group["count"]), group["value"])
    return table


def _energy_table(account: Account, house: House) -> Table:
    columns = ("meter", "day", "from SQL", "from the file", "difference")
    table = Table(*columns, title="\nEnergy per day, kWh", title_justify="left", box=None)
    for (number, day), filed in sorted(house.energy.items(), key=lambda item: item[0][1]):
        stored = account.energy.get((number, day))
        difference = "missing" if stored is None else f"{float(abs(stored - filed)):.1e}"
        table.add_row(number, str(day), _kwh(stored), _kwh(filed), difference)
    return table


def _print_heat(console: Console, heat: Heat) -> None:
    """The heating curve: the colder it is outside, the warmer the water that the controller sends round."""
    controllers = f"Heating controllers {' and '.join(heat.serials)} of an emulated ECL Portal"
    stored = f"{heat.stored_samples} of {heat.portal_samples} moments of the last nine days stored"
    console.print(f"\n[italic]{controllers}: {stored}[/]", highlight=False, soft_wrap=True)
    table = Table("outdoor °C", "flow °C", "", box=None)
    for point in heat.curve:
        table.add_row(str(point.outdoor), f"{point.flow:.1f}", "▪" * round(point.flow / 2))
    console.print(table)


def _kwh(energy: Decimal | None) -> str:
    return "-" if energy is None else f"{energy:.6f}"


def _print_next(console: Console, stack: Stack, told: Told) -> None:
    batch = told.account.ledger["batch"]
    lines = {
        f". {stack.local_env}": "addresses for the shell; README.md has a session with curl",
        f"make follow BATCH={batch}": "one batch's way through the logs",
        f".venv/bin/metering-gateway outbox --state {told.site.folder}": "the gateway's side of the account",
        "make status, make logs, make down": "the processes",
    }
    console.print("The platform stays up. What to look at next:")
    for command, what in lines.items():
        console.print(f"  {command}\n      {what}", highlight=False, soft_wrap=True)
