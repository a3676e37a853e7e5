# ruff: noqa: INP001  an example to copy
"""A gateway in one page of Python on the reference library: delivers readings.csv to the platform.

METERING_API_URL   the platform's base URL        METERING_TOKEN          the issued token.json
METERING_READINGS  device,timestamp,sensor,value  METERING_GATEWAY_STATE  a folder that survives a restart
"""

import asyncio
import csv
import json
import os
from itertools import groupby
from pathlib import Path

from metering_gateway import Gateway, GatewayConfig
from metering_gateway.domain.measures import Measure
from metering_gateway.token_file import TokenFile, TokenPair


def read_measures(path: str) -> list[Measure]:
    """Lines of one device and time that follow each other are one measure."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        groups = groupby(csv.DictReader(file), key=lambda row: (row["device"], int(row["timestamp"])))
        return [
            Measure(device, at, {row["sensor"]: float(row["value"]) for row in rows}) for (device, at), rows in groups
        ]


def take_token(state: Path) -> None:
    """Only the first time: an issued token that was exchanged must never be presented again."""
    token = state / "token.json"
    if not token.exists():
        issued = json.loads(Path(os.environ["METERING_TOKEN"]).read_text(encoding="utf-8"))
        TokenFile(token).write(TokenPair(issued["refreshToken"]))


async def main() -> None:
    """Stores the readings once, then sends until nothing is due."""
    state = Path(os.environ["METERING_GATEWAY_STATE"])
    take_token(state)
    async with Gateway(GatewayConfig(os.environ["METERING_API_URL"], state)) as gateway:
        if not gateway.outbox.account():
            gateway.outbox.store(read_measures(os.environ["METERING_READINGS"]))
        await gateway.flush()


asyncio.run(main())
