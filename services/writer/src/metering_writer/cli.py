"""The operator's commands: `metering-writer`, which reads the environment of the service."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from metering_common.service.output import Printing
from metering_common.service.settings import load_settings
from metering_writer import __main__ as service
from metering_writer.commands import dead, offsets, registers, replay, requalify
from metering_writer.settings import ToolSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    asked = parser().parse_args(arguments)
    if asked.command == "run":
        return service.main()
    if asked.command == "registers":
        return registers.main()
    with Printing():
        return int(asyncio.run(asked.handle(load_settings(ToolSettings), asked, sys.stdout)))
    return 0


def parser() -> argparse.ArgumentParser:
    """Every command; each knows its own handler."""
    top = argparse.ArgumentParser(
        prog="metering-writer", description="Stores validated records; mends what was stored."
    )
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="the service, as `python -m metering_writer`")
    commands.add_parser("registers", help="the second program: keeps what figures of consumption rest on")
    replay.add_to(commands)
    requalify.add_to(commands)
    dead.add_to(commands)
    offsets.add_to(commands)
    return top
