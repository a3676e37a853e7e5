"""The commands around the daemon: run it, try its sources, check its configuration, show how it does."""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from metering_gateway.cli import display
from metering_gateway.cli.commands import EXIT_DONE, EXIT_ERROR
from metering_gateway.cli.options import UnreadableInputError
from metering_gateway.daemon.build import build_sources
from metering_gateway.daemon.config import DaemonConfig, load_config
from metering_gateway.daemon.run import run_daemon
from metering_gateway.daemon.systemd import log_to_stderr
from metering_gateway.domain.measures import SensorValues
from metering_gateway.replay import CsvFile
from metering_gateway.sources import Source, SourceError

_STALE_BEATS = 3  # a health file this many beats old belongs to a daemon that is gone or hangs


async def run(config: Path) -> int:
    log_to_stderr()
    await run_daemon(config)
    return EXIT_DONE


class PrintingSink:
    """Prints measures instead of storing them."""

    def store(self, device_number: str, values: SensorValues, timestamp: int | None = None) -> None:
        at = datetime.now(UTC).timestamp() if timestamp is None else timestamp
        line = {"device": device_number, "timestamp": int(at), "values": dict(values)}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    async def store_file(self, file: CsvFile) -> None:
        for row in file.rows():
            for measure in row.measures:
                self.store(measure.device_number, measure.values, measure.timestamp)


async def dry_run(path: Path) -> int:
    """Reads until it is interrupted. CSV files stay where they are."""
    sources = build_sources(load_config(path).sources, display.say)
    await asyncio.gather(*(_read(source) for source in sources))
    return EXIT_DONE


async def _read(source: Source) -> None:
    try:
        await source.run(PrintingSink())
    except SourceError as error:
        display.say(f"{source.name}: {error}")


def check_config(path: Path) -> int:
    config = load_config(path)
    build_sources(config.sources, display.say)
    display.say(f"{path} is right: {len(config.sources)} sources, state in {config.state.directory}")
    return EXIT_DONE


def status(path: Path, *, as_json: bool) -> int:
    """By the health file. Returns EXIT_ERROR if the daemon has a trouble or does not write it any more."""
    health = _health(load_config(path))
    display.health(health, as_json=as_json)
    return EXIT_DONE if health["good"] else EXIT_ERROR


def _health(config: DaemonConfig) -> dict[str, object]:
    file, settings = config.health.file, config.health
    if file is None:
        raise UnreadableInputError("the configuration names no health file: add [health] file = …")
    try:
        health: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))
        age = time.time() - float(str(health["at"]))
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableInputError(f"no daemon has written {file} yet") from error
    running = age < _STALE_BEATS * settings.every_seconds + 1
    return health | {"running": running, "age_seconds": round(age, 1), "good": running and bool(health["good"])}
