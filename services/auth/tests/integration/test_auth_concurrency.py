"""Real concurrency: several auth processes, one family, many gateways' threads at the same instant.

What does this test do? It presents one token many times at once at two processes, then its successor and itself at
once, in many rounds. How? Over HTTP with the processes' own clocks; it counts outcomes and proves by them that every
answer of a round was the same pair, and that no family was ever revoked.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
from auth_support import AuthClient, ControlledClock

from metering_common.postgres.pool import TimedPool

PROCESSES = 2
ROUNDS = 25
AT_ONCE = 16
EDGE_ROUNDS = 5


class Site(NamedTuple):
    provider: int
    gateway: int


async def test_parallel_refreshes_over_several_replicas_give_one_successor(
    start_process: Callable[..., Any],
    admin: Callable[..., Any],
    site: Site,
    pool: TimedPool,
    record_property: Callable[[str, object], None],
) -> None:
    replicas = [start_process() for _ in range(PROCESSES)]
    token = admin("gateway", "issue-token", site.gateway)["refreshToken"]
    outcomes: Counter[str] = Counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        clients = [AuthClient(session, replica.base_url) for replica in replicas]
        for _ in range(ROUNDS):
            answers = await asyncio.gather(*(clients[place % PROCESSES].refresh(token) for place in range(AT_ONCE)))
            assert {status for status, _ in answers} == {200}
            pairs = {(body["accessToken"], body["refreshToken"]) for _, body in answers}
            assert len(pairs) == 1
            outcomes["same pair"] += len(answers)
            token = await race_with_successor(clients, token, pairs.pop()[1], outcomes)
        assert (await clients[0].refresh(token))[0] == 200
    assert await pool.fetchval("SELECT count(*) FROM token_family WHERE revoked_at IS NOT NULL") == 0
    assert (
        await pool.fetchval(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM refresh_token WHERE presented_at"
            " IS NOT NULL GROUP BY family_id, generation) AS accepted"
        )
        == 1
    )
    record_property("outcomes", dict(outcomes))
    print(f"{ROUNDS} rounds of {AT_ONCE} at once at {PROCESSES} processes: {dict(outcomes)}")  # noqa: T201  the figure


async def race_with_successor(clients: list[AuthClient], token: str, successor: str, outcomes: Counter[str]) -> str:
    """Predecessor and successor at once: the predecessor gets the same pair or a 401, the successor always a pair."""
    presented = [token if place % 3 == 0 else successor for place in range(AT_ONCE)]
    answers = await asyncio.gather(*(clients[place % PROCESSES].refresh(each) for place, each in enumerate(presented)))
    of_successor = [
        body["refreshToken"] for each, (_, body) in zip(presented, answers, strict=True) if each is successor
    ]
    assert len(set(of_successor)) == 1
    for each, (status, body) in zip(presented, answers, strict=True):
        if each is token:
            assert status == 401 or body["refreshToken"] == successor
            outcomes[f"predecessor {status}"] += 1
    outcomes["successor 200"] += len(of_successor)
    return str(of_successor[0])


async def test_at_the_edges_of_the_rules_parallel_refreshes_agree(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]],
    admin: Callable[..., Any],
    site: Site,
    pool: TimedPool,
) -> None:
    """Three replicas under one held clock: at each edge many requests at once get one answer, and act once.

    Replicas are services of their own, with pools of their own; only the row lock in PostgreSQL stands between them.
    """
    clock = ControlledClock(datetime.now(UTC))
    async with start_auth(clock) as one, start_auth(clock) as two, start_auth(clock) as three:
        replicas = [one, two, three]
        for _ in range(EDGE_ROUNDS):
            token = admin("gateway", "issue-token", site.gateway)["refreshToken"]
            clock.now = max(clock.now, datetime.now(UTC))
            first = await at_once(replicas, token)
            clock.advance(60)
            assert await at_once(replicas, token) == first  # still the same pair
            clock.advance(0.001)
            second = await at_once(replicas, token)  # one more successor, not sixteen
            assert second != first
            _, successor = second
            third = await at_once(replicas, successor)
            clock.advance(600)
            assert await at_once(replicas, token) == (401, "")  # refused and nothing more
            clock.advance(0.001)
            assert await at_once(replicas, token) == (401, "")  # a reuse
            assert await at_once(replicas, third[1]) == (401, "")
    reused = await pool.fetchval("SELECT count(*) FROM audit_event WHERE action = 'token.reused'")
    revoked = await pool.fetchval("SELECT count(*) FROM token_family WHERE revoked_reason = 'reuse'")
    tokens = await pool.fetchval("SELECT count(*) FROM refresh_token")
    assert (reused, revoked, tokens) == (EDGE_ROUNDS, EDGE_ROUNDS, 4 * EDGE_ROUNDS)


async def at_once(replicas: list[AuthClient], token: str) -> tuple[int, str]:
    """The one answer to many: status, and the refresh token if there is one."""
    turns = (replicas[place % len(replicas)].refresh(token) for place in range(AT_ONCE))
    answers = {(status, body.get("refreshToken", "")) for status, body in await asyncio.gather(*turns)}
    assert len(answers) == 1
    return answers.pop()


async def test_families_do_not_wait_for_each_other(
    start_process: Callable[..., Any], admin: Callable[..., Any], site: Site, pool: TimedPool
) -> None:
    """One family's row is held by somebody who sleeps; another gateway's refresh is answered meanwhile."""
    replica = start_process()
    held = admin("gateway", "issue-token", site.gateway)["refreshToken"]
    free = admin("gateway", "issue-token", site.gateway)["refreshToken"]
    async with aiohttp.ClientSession() as session, pool.acquire() as connection:
        client = AuthClient(session, replica.base_url)
        async with connection.transaction():
            await connection.execute("SELECT FROM token_family ORDER BY created_at LIMIT 1 FOR UPDATE")
            assert (await client.refresh(free))[0] == 200  # were they one queue, this would be the 503
            status, body = await client.refresh(held)
            assert (status, body["code"]) == (503, "tokens_unavailable")
        assert (await client.refresh(held))[0] == 200
