"""Invariant 4 from outside: the real file, sent twice and through kill -9 of everything, stands there once.

What does this test do? It replays two days of a house through the reference gateway. How does it prove the invariant?
By comparing every stored row with those of an undisturbed replay of the same file.
"""

import json
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.house import House, Rows, build_house, rows_in_the_file
from tests.e2e.platform import Platform, eventually

TEN_SECONDS = str(2 * 86_400 / 10)
"""Replayed at this speed the two days take ten seconds at least."""
VICTIMS = ("writer", "validator", "ingest-api-1", "gateway client")


def replay_to_the_end(house: House, state: Path, speed: str = "max") -> None:
    with house.replay(state, speed) as process:
        printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert json.loads(printed)["waiting"] == 0


async def until_all_is_stored(house: House) -> Rows:
    return await eventually(house.rows, lambda rows: len(rows) == rows_in_the_file(), seconds=120)


async def test_the_same_file_sent_twice_changes_no_row(platform: Platform, tmp_path: Path) -> None:
    house = build_house(platform, "sent twice")
    for gateway in ("first", "second"):
        house.log_in(tmp_path / gateway, gateway)
    replay_to_the_end(house, tmp_path / "first")
    stored = await until_all_is_stored(house)
    records = await house.records()
    replay_to_the_end(house, tmp_path / "second")
    await eventually(house.records, lambda now: now == 2 * records)
    assert await house.rows() == stored


async def test_a_file_sent_through_kills_is_complete_and_single(platform: Platform, tmp_path: Path) -> None:
    calm, stormy = build_house(platform, "calm"), build_house(platform, "stormy")
    calm.log_in(tmp_path / "calm", "calm")
    stormy.log_in(tmp_path / "stormy", "stormy")
    replay_to_the_end(calm, tmp_path / "calm")
    replay_through_kills(stormy, tmp_path / "stormy", random.Random(20070201))
    assert await until_all_is_stored(stormy) == await until_all_is_stored(calm)


def replay_through_kills(house: House, state: Path, chance: random.Random) -> None:
    """Every victim dies once, in random order and after random pauses, while measures are on their way."""
    victims = chance.sample(VICTIMS, len(VICTIMS))
    last = victims.index("gateway client")
    processes = house.platform.processes()
    with house.replay(state, speed=TEN_SECONDS) as process:
        kill(processes, victims[:last], chance)
        time.sleep(chance.uniform(0.3, 1.0))
        assert process.poll() is None, "the replay ended before it could be killed"
    with house.replay(state, speed=TEN_SECONDS) as process:
        kill(processes, victims[last + 1 :], chance)
        assert process.poll() is None, "the replay ended before all were killed"
    replay_to_the_end(house, state)


def kill(processes: dict[str, int], victims: Sequence[str], chance: random.Random) -> None:
    """kill -9; the supervisor brings them back."""
    for victim in victims:
        time.sleep(chance.uniform(0.3, 1.0))
        os.kill(processes[victim], signal.SIGKILL)
