"""What the demo prints: the account of its measures, the energy twice, and where to look next."""

from decimal import Decimal

from rich.console import Console
from rich.table import Table

from metering_local.demo_account import Account, faults
from metering_local.demo_house import House
from metering_local.demo_site import Site
from metering_local.stack import Stack


def print_report(console: Console, stack: Stack, site: Site, account: Account, house: House) -> bool:
    """The tables, then a sentence that says whether all is well, then what to look at; whether all is well."""
    console.print(f"\n[bold]{site.name}[/]: two days of a real house, over HTTP through {stack.api_url}\n")
    for table in (_account_table(account), _refusal_table(account), _energy_table(account, house)):
        console.print(table)
    seconds = account.ledger["seconds"]
    console.print(f"\nFrom the first request to the last row: {seconds:.1f} s, {account.requests} requests.\n")
    wrong = faults(account, house)
    for fault in wrong:
        console.print(f"[red]{fault}[/]", highlight=False)
    if wrong:
        console.print("[bold red]The account does not close.[/]\n")
    else:
        console.print("[bold green]The account closes, and the energy agrees with the file to 1e-6 kWh.[/]\n")
    _print_next(console, stack, site, account)
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


def _kwh(energy: Decimal | None) -> str:
    return "-" if energy is None else f"{energy:.6f}"


def _print_next(console: Console, stack: Stack, site: Site, account: Account) -> None:
    lines = [
        "The platform stays up. What to look at next:",
        f"  . {stack.local_env}                     addresses for the shell; README.md has a session with curl",
        f"  make follow BATCH={account.ledger['batch']}   one batch's way through the logs",
        f"  .venv/bin/metering-gateway outbox --state {site.folder}   the gateway's side of the account",
        "  make status | make logs | make down",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
