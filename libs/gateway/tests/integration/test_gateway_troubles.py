"""Troubles of the machine and of the line: busy and damaged files, a full disk, a second process, a line too slow."""

import asyncio
import gzip
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import pytest

from metering_gateway import AnotherSenderError, BackOff, Gateway, GatewayConfig, Notice
from metering_gateway.conformance import Fault, Platform, running, scripted
from metering_gateway.disk import DiskFullError
from metering_gateway.domain import packing
from metering_gateway.domain.measures import Measure, StoredMeasure, sensor_values_json
from metering_gateway.gateway import OUTBOX_FILE, SENDING_LOCK, TOKEN_FILE
from metering_gateway.outbox import Outbox, OutboxLimits
from metering_gateway.token_file import NoTokenError, TokenFile, TokenPair, exclusive
from tests.emulators.slow_line import slow_line

pytestmark = pytest.mark.fast

Open = Callable[..., AbstractAsyncContextManager[Gateway]]
T0 = 1_773_241_500


def measures(count: int, start: int = T0) -> list[Measure]:
    return [Measure("29", start + i, {"Corriente A": i}) for i in range(count)]


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not reached():  # noqa: ASYNC110  what is watched has no event
            await asyncio.sleep(0.01)


async def test_sending_waits_for_the_lock_and_then_sends(
    open_gateway: Open, state: Path, notices: list[Notice]
) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        with exclusive(state / SENDING_LOCK) as held:
            assert held
            sending = gateway.sending()
            await sending.__aenter__()
            gateway.store("29", {"Corriente A": 1}, T0)
            await until(lambda: any(n.kind == "waiting" for n in notices))
            assert not platform.arrivals
        await until(lambda: bool(platform.arrivals))
        await sending.__aexit__(None, None, None)
    assert gateway.sent_measures == 1


async def test_a_lock_that_stays_held_is_said_at_the_end(open_gateway: Open, state: Path) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        with exclusive(state / SENDING_LOCK), pytest.raises(AnotherSenderError):
            async with gateway.sending():
                gateway.store("29", {"Corriente A": 1}, T0)
        assert (await gateway.flush()).waiting == 0


async def test_sending_outlives_a_database_that_is_busy(open_gateway: Open, state: Path, notices: list[Notice]) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        gateway.outbox._db.execute("PRAGMA busy_timeout = 1")
        async with gateway.sending():
            gateway.store("29", {"Corriente A": 1}, T0)
            with closing(sqlite3.connect(state / OUTBOX_FILE, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                await until(lambda: any(n.kind == "stopped" for n in notices))
                other.execute("ROLLBACK")
            await until(lambda: gateway.sent_measures == 1)
    assert any("database is locked" in n.text for n in notices)


async def test_a_line_that_does_not_carry_the_request_gets_smaller_ones(
    state: Path, notices: list[Notice], open_gateway: Open
) -> None:
    """A hundred measures of thirty values need four times the time that one answer has."""
    many = {f"Sensor {number}": number + 0.125 for number in range(30)}
    stored = [Measure("29", T0 + at, {name: value * at for name, value in many.items()}) for at in range(200)]
    async with running(Platform()) as platform, open_gateway(platform), slow_line(platform.url, 20_000) as line:
        config = GatewayConfig(line.url, state, answer_seconds=0.5, back_off=BackOff(0.001, 0.02))
        async with Gateway(config, notices.append) as gateway:
            gateway.outbox.store(stored)
            await gateway.flush()
            carried = line.carried_up
        assert len(platform.arrivals) == 6_000
        assert "slow-line" in {n.kind for n in notices}
        notices.clear()
        async with Gateway(config, notices.append) as again:
            again.outbox.store(measures(30, T0 + 1000))
            await again.flush()
    assert "slow-line" not in {n.kind for n in notices}  # what fits is remembered
    packed = len(gzip.compress(packing.body(pack_all(stored))))
    assert carried < 4 * packed, f"{carried} bytes carried for {packed}"


def pack_all(stored: list[Measure]) -> list[StoredMeasure]:
    return [StoredMeasure(1, m.device_number, m.timestamp, sensor_values_json(m.values), 30) for m in stored]


async def test_a_408_makes_the_next_request_smaller(open_gateway: Open) -> None:
    platform = Platform()
    platform.times_out_above = 20
    async with running(platform), open_gateway(platform) as gateway:
        gateway.outbox.store(measures(100))
        summary = await gateway.flush()
    assert (summary.waiting, summary.run.sent_measures, len(platform.arrivals)) == (0, 100, 100)
    assert platform.statuses[408] <= 4


async def test_one_measure_that_times_out_is_sent_again_and_never_refused(open_gateway: Open) -> None:
    platform = Platform(faults=scripted([Fault.TIMEOUT] * 4))
    async with running(platform), open_gateway(platform) as gateway:
        gateway.outbox.store(measures(4))
        summary = await gateway.flush()
    assert (summary.waiting, summary.refused, len(platform.arrivals)) == (0, 0, 4)


async def test_a_full_disk_stores_nothing_and_goes_on_sending(open_gateway: Open) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        gateway.outbox.store(measures(150))
        gateway.outbox._free = lambda _: 0
        with pytest.raises(DiskFullError, match="is full"):
            gateway.store("29", {"Corriente A": 1}, T0 + 999)
        summary = await gateway.flush()
    assert (summary.run.sent_measures, summary.waiting, summary.closes) == (150, 0, True)


async def test_a_disk_that_fills_is_reported_once(open_gateway: Open, notices: list[Notice]) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        gateway.outbox._free = lambda _: 10 << 20
        for at in range(3):
            gateway.store("29", {"Corriente A": 1}, T0 + at)
            await gateway.flush()
    assert [n.text for n in notices if n.kind == "disk"] == ["the disk of the outbox is nearly full: 10 MiB free"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7", '{"refreshToken"'])
def test_a_damaged_token_file_asks_for_a_new_token_never_for_an_old_one(tmp_path: Path, text: str) -> None:
    (tmp_path / TOKEN_FILE).write_text(text)
    with pytest.raises(NoTokenError, match="have a new token issued"):
        TokenFile(tmp_path / TOKEN_FILE).read()


def files(folder: Path) -> dict[str, int]:
    """Sizes by name."""
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def damaged(path: Path, at: slice) -> None:
    """Overwrites these pages of the file, all of it in the file first."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = database.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(path.read_bytes())
    for number in range(len(content) // page)[at]:
        content[number * page : (number + 1) * page] = b"\xa5" * page
    path.write_bytes(content)


async def test_a_damaged_outbox_is_set_aside_and_what_can_be_read_is_sent(
    open_gateway: Open, state: Path, notices: list[Notice]
) -> None:
    async with running(Platform()) as platform:
        async with open_gateway(platform) as gateway:
            gateway.outbox.store(measures(20_000))
        damaged(state / OUTBOX_FILE, slice(-8, -2))
        async with open_gateway(platform) as gateway:
            summary = await gateway.flush()
    assert summary.closes
    assert (summary.waiting, summary.total.sent_measures) == (0, summary.total.stored_measures)
    assert any(n.kind == "damaged" for n in notices)
    aside = [name for name in files(state) if "damaged" in name]
    assert len([name for name in aside if name.endswith(".sqlite")]) == 1
    assert len(platform.arrivals) > 15_000


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with closing(Outbox(path)) as box:
        assert box.salvage is not None
        assert box.salvage.set_aside.read_bytes().startswith(b"not a database")
        box.store(measures(1))
    with closing(Outbox(path)) as again:
        assert (again.salvage, len(again.due(0))) == (None, 1)


@pytest.mark.parametrize(("drop", "kept"), [("oldest", "last"), ("newest", "first")])
def test_an_outbox_at_its_limit_drops_by_choice_and_counts(tmp_path: Path, drop: str, kept: str) -> None:
    limits = OutboxLimits(max_bytes=200_000, drop=drop)  # type: ignore[arg-type]
    with closing(Outbox(tmp_path / "outbox.sqlite", limits)) as box:
        for start in range(0, 5_000, 50):
            box.store(measures(50, T0 + start))
        account = box.account()
        times = [m.timestamp for m in box.due(0, limit=10_000)]
    assert account["dropped_measures"] > 0
    assert account["stored_measures"] == account["waiting"] + account["dropped_measures"] == 5_000
    assert (T0 in times, T0 + 4_999 in times) == ((False, True) if kept == "last" else (True, False))
    assert (tmp_path / "outbox.sqlite").stat().st_size < 600_000


def test_what_waits_longer_than_it_may_is_dropped_and_counted(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "outbox.sqlite", OutboxLimits(max_age_seconds=100))) as box:
        box.store(measures(150))
        assert box.drop_too_old(T0 + 150) == 50
        assert (box.account()["dropped_measures"], len(box.due(0))) == (50, 100)


async def test_a_measure_that_is_dropped_while_it_is_sent_is_counted_once(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "outbox.sqlite", OutboxLimits(max_age_seconds=100))) as box:
        box.store(measures(100))
        under_way = box.due(0)
        box.drop_too_old(T0 + 150)
        box.delivered(under_way, None, {}, 0)
        account = box.account()
    assert account["stored_measures"] == account["sent_measures"] + account["dropped_measures"] == 100


async def test_after_a_long_outage_the_disk_gets_its_space_back(open_gateway: Open, state: Path) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        gateway.outbox.store(Measure("29", T0 + i, {"Corriente A" * 40: i}) for i in range(5_000))
        full = sum(size for name, size in files(state).items() if name.startswith("outbox.sqlite"))
        await gateway.flush()
        left = sum(size for name, size in files(state).items() if name.startswith("outbox.sqlite"))
    assert full > 2_000_000
    assert left < 200_000


async def test_a_token_that_a_restored_card_presents_again_is_refused_and_said(
    open_gateway: Open, state: Path, notices: list[Notice]
) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        old = TokenFile(state / TOKEN_FILE).read()
        await gateway.device("29")
        platform.family.withdraw_access()
        await gateway.device("29")
        TokenFile(state / TOKEN_FILE).write(TokenPair(old.refresh))
        async with gateway.sending():
            gateway.store("29", {"Corriente A": 1}, T0)
            await until(lambda: any(n.kind == "credentials" for n in notices))
            TokenFile(state / TOKEN_FILE).write(TokenPair(platform.issued_refresh_token()))
        assert gateway.summary().waiting == 0
    assert any("have a new token issued" in n.text for n in notices)
