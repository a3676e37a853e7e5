"""The running platform as an outsider sees it: its base URL, its read-only SQL, its metrics, its processes."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import asyncpg
from prometheus_client.parser import text_string_to_metric_families

TOOLS = Path(sys.executable).parent
T = TypeVar("T")


@dataclass(frozen=True)
class Platform:
    """One local stack; `environment` is what its `local.env` exports, on top of this process's own."""

    environment: dict[str, str] = field(repr=False)  # holds the stack's passwords

    @property
    def api_url(self) -> str:
        return self.environment["METERING_API_URL"]

    def run(self, tool: str, *arguments: str) -> Any:
        """Run one of the platform's command-line tools with --json and return what it printed."""
        command = [str(TOOLS / tool), *arguments, "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{' '.join(command)} exited {done.returncode}: {done.stderr[-2000:]}"
        return json.loads(done.stdout)

    def admin(self, *arguments: str) -> Any:
        return self.run("metering-admin", *arguments)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """The storage database as an analyst sees it: read-only."""
        connection = await asyncpg.connect(self.environment["METERING_DATABASE_URL"])
        try:
            yield connection
        finally:
            await connection.close()

    async def scalar(self, query: str, *arguments: object) -> Any:
        async with self.database() as connection:
            return await connection.fetchval(query, *arguments)

    async def metric(self, service: str, name: str, **labels: str) -> float:
        """The sum of one metric's samples over all replicas of a service and all labels not named."""
        urls = self.environment[f"METERING_{service.upper().replace('-', '_')}_ADMIN_URL"].split(",")
        async with aiohttp.ClientSession() as session:
            return sum([await _sample_sum(session, f"{url}/metrics", name, labels) for url in urls])

    def processes(self) -> dict[str, int]:
        """Process ids by name, as `metering-local status` tells them."""
        status = self.run("metering-local", "status")
        return {process["name"]: process["pid"] for process in status["processes"] if process["pid"]}


async def _sample_sum(session: aiohttp.ClientSession, url: str, name: str, labels: dict[str, str]) -> float:
    async with session.get(url) as response:
        families = text_string_to_metric_families(await response.text())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


async def eventually(read: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], seconds: float = 60) -> T:
    """Read until the answer is as wanted; fails with the last answer when it never is."""
    end = time.monotonic() + seconds
    while True:
        answer = await read()
        if wanted(answer):
            return answer
        assert time.monotonic() < end, f"still {answer!r} after {seconds} s"
        await asyncio.sleep(0.2)
