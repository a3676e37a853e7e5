"""`metering-writer consumer-offset`: the stored offsets, and where a stopped partition goes on."""

import argparse
from typing import TYPE_CHECKING, TextIO

from metering_common.contract.topics import VALIDATED
from metering_common.postgres import pool as postgres
from metering_writer.queries import sql
from metering_writer.settings import ToolSettings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  argparse has no other name for it


def add_to(commands: "Commands") -> None:
    """`consumer-offset list` and `consumer-offset set`."""
    parser = commands.add_parser("consumer-offset", help="where each partition's storing stands")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="topic, partition, next offset, last record").set_defaults(handle=show)
    chosen = actions.add_parser(
        "set", help="go on at an offset and compare nothing: a stopped partition continues within seconds"
    )
    chosen.add_argument("--partition", type=int, required=True)
    chosen.add_argument("--offset", type=int, required=True, help="the next record to be stored")
    chosen.set_defaults(handle=choose)


async def show(settings: ToolSettings, _asked: argparse.Namespace, out: TextIO) -> int:
    async with postgres.pool(settings.database_url, application_name="metering-writer-cli") as pool:
        for row in await pool.fetch(sql.list_offsets):
            last = f"{row['batch_id']} item {row['item']}" if row["batch_id"] else "-"
            out.write(f"{row['topic']} {row['partition']} {row['next_offset']} {last}\n")
    return 0


async def choose(settings: ToolSettings, asked: argparse.Namespace, out: TextIO) -> int:
    """Records that are stored already and are read again change nothing: choosing too low an offset is safe."""
    async with postgres.pool(settings.database_url, application_name="metering-writer-cli") as pool:
        await pool.execute(sql.set_offset, VALIDATED, asked.partition, asked.offset)
    out.write(f"{VALIDATED} {asked.partition} goes on at {asked.offset}\n")
    return 0
