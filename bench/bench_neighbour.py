"""A good gateway beside each hostile one by turns in one run: its p50 and p99, of the 201 and of queryable.

    python bench/bench_neighbour.py [--requests 2000] [--per-second 100] [--rounds 3] [--only NAME]

Brings up a platform of its own as `make up` does, with this build's defaults. In each round the good gateway sends its
requests alone, and then beside each kind of `hostile.py`, which keeps to the published limits. Printed are the medians
of the rounds. It fails if a p99 is more than three times the quiet one of its round, in the median, or if anything of
the good gateway is refused.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import aiohttp
import uvloop

from bench.bench_queryable import Gateway, Way, admin, platform, way
from bench.hostile import ATTACKS, Attacker
from metering_local.testing_stack import LocalStack

BOUND = 3
"""A neighbour's p99 to the quiet one."""
SETTLE_SECONDS = 5


class Latencies(NamedTuple):
    """Of one kind in one round, in milliseconds."""

    accepted: list[float]
    queryable: list[float]

    def figures(self) -> dict[str, float]:
        return {
            f"{name}_{label}": round(statistics.quantiles(times, n=100)[at], 1)
            for name, times in self._asdict().items()
            for label, at in (("p50", 49), ("p99", 98))
        }


async def good_requests(whole: Way, gateway: Gateway, requests: int, per_second: float) -> Latencies:
    """Sent evenly, each when it is due; an answer that is no 201 ends the run."""
    latencies = Latencies([], [])

    async def one() -> None:
        started = time.perf_counter()
        device, at = await whole.send(gateway)
        latencies.accepted.append((time.perf_counter() - started) * 1_000)
        await whole.table.holds(device, at)
        latencies.queryable.append((time.perf_counter() - started) * 1_000)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(requests):
            await asyncio.sleep(max(0.0, begun + number / per_second - time.perf_counter()))
            tasks.create_task(one())
    return latencies


@asynccontextmanager
async def beside(name: str, attacker: Attacker) -> AsyncIterator[None]:
    """The attack, from a moment before until the end."""
    if name not in ATTACKS:
        yield
        return
    attack = asyncio.ensure_future(ATTACKS[name](attacker))
    try:
        await asyncio.sleep(1)
        yield
    finally:
        attack.cancel()
        with suppress(asyncio.CancelledError):
            await attack


async def registered(local: LocalStack, client: aiohttp.ClientSession) -> tuple[Gateway, Attacker]:
    """Two gateways of two providers, with a device each."""
    good, bad = [await _one(local, client, name) for name in ("good", "hostile")]
    gateway = Gateway(good[0], "good", good[1])
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    return gateway, Attacker(local.stack.api_url, "hostile", bad[1], session, Counter())


async def _one(local: LocalStack, client: aiohttp.ClientSession, name: str) -> tuple[int, str]:
    provider = str(admin(local, "provider", "add", name)["id"])
    gateway = str(admin(local, "gateway", "add", "--provider", provider, name)["id"])
    device = int(admin(local, "device", "add", "--provider", provider, "--number", name)["id"])
    refresh = admin(local, "gateway", "issue-token", gateway)["refreshToken"]
    url = f"{local.stack.api_url}/api/v1/auth/token/refresh"
    async with client.post(url, json={"refreshToken": refresh}) as answer:
        return device, str((await answer.json())["accessToken"])


async def run(local: LocalStack, options: argparse.Namespace) -> int:
    kinds = ["quiet", *(name for name in ATTACKS if options.only in ("", name))]
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        gateway, attacker = await registered(local, client)
        async with attacker.session, way(local, client, measures=1) as whole:
            await good_requests(whole, gateway, 100, options.per_second)  # connections and caches
            for _ in range(options.rounds):
                for name in kinds:
                    async with beside(name, attacker):
                        latencies = await good_requests(whole, gateway, options.requests, options.per_second)
                    figures[name].append(latencies.figures())
                    print(name, figures[name][-1], dict(attacker.statuses), flush=True)
                    attacker.statuses.clear()
                    await asyncio.sleep(SETTLE_SECONDS)
    return report(figures)


def report(figures: dict[str, list[dict[str, float]]]) -> int:
    """Prints the medians; 1 if a p99 is over its bound."""
    over = False
    medians: dict[str, Any] = {}
    for name, rounds in figures.items():
        medians[name] = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        for key in ("accepted_p99", "queryable_p99"):
            ratios = [each[key] / quiet[key] for each, quiet in zip(rounds, figures["quiet"], strict=True)]
            medians[name][f"{key}_to_quiet"] = round(statistics.median(ratios), 2)
            over = over or statistics.median(ratios) > BOUND
    print(json.dumps({"milliseconds": medians, "bound_p99_to_quiet": BOUND}, indent=2))
    return int(over)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--per-second", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="one kind of hostile.ATTACKS beside the quiet one")
    options = parser.parse_args()
    with platform() as local:
        return uvloop.run(run(local, options))


if __name__ == "__main__":
    raise SystemExit(main())
