"""The client against a platform that behaves as published and fails on command: nothing is lost, nothing is refused."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from metering_gateway import AnotherSenderError, CredentialsRefusedError, Gateway, Notice
from metering_gateway.conformance import Fault, Platform, random_faults, running, scripted
from metering_gateway.domain.measures import Measure
from metering_gateway.gateway import TOKEN_FILE
from metering_gateway.token_file import TokenFile, TokenPair

pytestmark = pytest.mark.fast

Open = Callable[..., AbstractAsyncContextManager[Gateway]]
T0 = 1_773_241_500
RETRIED = [fault for fault in Fault if fault not in {Fault.NONE, Fault.SLOW, Fault.EXPIRED}]


def measures(device: str, count: int, start: int = T0) -> list[Measure]:
    return [Measure(device, start + i, {"Corriente A": i, "Voltaje A-N": 230.5}) for i in range(count)]


def keys(*of: Measure) -> set[tuple[str, int, str]]:
    return {(m.device_number, m.timestamp, name) for m in of for name in m.values}


async def test_everything_stored_arrives_once_on_a_good_line(open_gateway: Open) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        stored = [*measures("29", 150), *measures("30", 90)]
        gateway.outbox.store(stored)
        summary = await gateway.flush()
    assert set(platform.arrivals) == keys(*stored)
    assert all(len(values) == 1 for values in platform.arrivals.values())
    assert platform.statuses == {201: 3}
    assert (summary.run.sent_measures, summary.run.sent_values, summary.waiting) == (240, 480, 0)
    assert summary.closes


@pytest.mark.parametrize("fault", RETRIED)
async def test_each_fault_of_the_line_is_outlived(open_gateway: Open, fault: Fault) -> None:
    async with running(Platform(faults=scripted([fault] * 3))) as platform, open_gateway(platform) as gateway:
        gateway.store("29", {"Corriente A": 1.4}, T0)
        summary = await gateway.flush()
    assert platform.arrivals["29", T0, "Corriente A"][0] == 1.4
    assert (summary.repeats, summary.waiting, summary.refused) == (3, 0, 0)


@pytest.mark.parametrize("fault", RETRIED)
async def test_a_lost_refresh_answer_does_not_lock_the_gateway_out(open_gateway: Open, fault: Fault) -> None:
    async with running(Platform(refresh_faults=scripted([fault] * 2))) as platform, open_gateway(platform) as gateway:
        gateway.store("29", {"Corriente A": 1.4}, T0)
        await gateway.flush()
        platform.family.withdraw_access()
        gateway.store("29", {"Corriente A": 1.5}, T0 + 1)
        await gateway.flush()
    assert len(platform.arrivals) == 2
    assert platform.family.refused == 0


async def test_on_a_bad_line_two_values_for_one_key_end_on_the_later(open_gateway: Open) -> None:
    platform = Platform(faults=random_faults(11, 0.5))
    async with running(platform), open_gateway(platform) as gateway:
        for value in range(300):
            gateway.store("29", {"Corriente A": value}, T0 + value % 7 * 86_400)
        await gateway.flush()
    last = {day: max(v for v in range(300) if v % 7 == day) for day in range(7)}
    assert {at: values[-1] for (_, at, _), values in platform.arrivals.items()} == {
        T0 + day * 86_400: value for day, value in last.items()
    }
    assert platform.concurrent == 1


async def test_the_one_measure_at_fault_is_found_kept_and_shown(open_gateway: Open, notices: list[Notice]) -> None:
    poison = {("29", T0 + 41), ("29", T0 + 77)}
    async with running(Platform(poison=poison)) as platform, open_gateway(platform) as gateway:
        stored = measures("29", 100)
        gateway.outbox.store(stored)
        summary = await gateway.flush()
        kept = gateway.outbox.refused(10)
    assert {(row["device_number"], row["timestamp"]) for row in kept} == poison
    assert all(row["status"] == 422 and "a measure is at fault" in str(row["answer"]) for row in kept)
    assert set(platform.arrivals) == keys(*(m for m in stored if (m.device_number, m.timestamp) not in poison))
    assert (summary.refused, summary.waiting, summary.closes) == (2, 0, True)
    assert [n.kind for n in notices if n.kind == "refused"] == ["refused"] * 2
    assert platform.statuses[422] <= 2 * 8


async def test_a_request_over_the_platforms_size_is_halved_until_it_fits(open_gateway: Open) -> None:
    async with running(Platform(max_body_bytes=3_000)) as platform, open_gateway(platform) as gateway:
        stored = measures("29", 100)
        gateway.outbox.store([*stored, Measure("29", T0 + 500, {f"Corriente {i}": 1 for i in range(100)})])
        summary = await gateway.flush()
    assert set(platform.arrivals) == keys(*stored)
    assert (summary.refused, platform.statuses[413] > 0) == (1, True)


async def test_unknown_devices_are_taken_out_and_the_rest_goes_at_once(open_gateway: Open) -> None:
    platform = Platform(devices={"29"})
    async with running(platform), open_gateway(platform) as gateway:
        gateway.outbox.store([m for i in range(10) for d in ("29", "30", "31") for m in measures(d, 1, T0 + i)])
        summary = await gateway.flush()
        assert set(platform.arrivals) == keys(*measures("29", 10))
        assert platform.statuses == {422: 1, 201: 1}
        assert (summary.waiting, summary.unknown, summary.refused) == (20, 20, 0)
        platform.devices = None
        assert (await gateway.flush()).waiting == 20
        gateway.outbox.try_unknown_now()
        assert (await gateway.flush()).waiting == 0
    assert len(platform.arrivals) == 60


async def test_unknown_devices_are_tried_again_when_their_time_has_come(open_gateway: Open) -> None:
    platform = Platform(devices=set())
    async with running(platform), open_gateway(platform, unknown_retry_seconds=0.2) as gateway:
        gateway.store("30", {"Corriente A": 1}, T0)
        assert (await gateway.flush()).unknown == 1
        platform.devices = None
        await asyncio.sleep(0.25)
        assert (await gateway.flush()).unknown == 0
    assert len(platform.arrivals) == 1


async def test_an_access_token_past_its_half_is_renewed_before_it_expires(open_gateway: Open) -> None:
    now = [T0 * 1000]
    platform = Platform(access_seconds=100, now_ms=lambda: now[0])
    async with running(platform), open_gateway(platform) as gateway:
        for value, passed in enumerate([0, 49, 2, 200]):
            now[0] += passed * 1000
            gateway.clock.offset = None if value == 0 else gateway.clock.offset
            gateway.store("29", {"Corriente A": value}, T0 + value)
            await gateway.flush()
    assert len(platform.arrivals) == 4
    assert platform.family.refused == 0


def warning(name: str, kind: str, rule: str, at: int | None) -> dict[str, object]:
    return {"deviceNumber": "29", "timestamp": at, "sensorName": name, "kind": kind, "rule": rule, "message": "m"}


async def test_the_new_pair_stands_in_the_file_with_mode_600(open_gateway: Open, state: Path) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        issued = TokenFile(state / TOKEN_FILE).read()
        await gateway.device("29")
        rotated = TokenFile(state / TOKEN_FILE).read()
    assert rotated.refresh != issued.refresh
    assert rotated.access is not None
    assert (state / TOKEN_FILE).stat().st_mode & 0o777 == 0o600


async def test_a_refused_refresh_token_is_said_and_loses_nothing(open_gateway: Open, state: Path) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        TokenFile(state / TOKEN_FILE).write(TokenPair("e30.e30.e30"))
        gateway.store("29", {"Corriente A": 1}, T0)
        with pytest.raises(CredentialsRefusedError, match="no longer good"):
            await gateway.flush()
        assert gateway.summary().waiting == 1
        TokenFile(state / TOKEN_FILE).write(TokenPair(platform.issued_refresh_token()))
        assert (await gateway.flush()).waiting == 0


class WrongClock:
    """Of a gateway that woke up in 2015."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def boot(self) -> str:
        return "boot"

    def wall_ms(self) -> int:
        return 1_430_000_000_000

    def steady_seconds(self) -> float:
        return time.monotonic() - self._began


async def test_a_measure_stored_before_the_clock_was_known_gets_the_platforms_time(open_gateway: Open) -> None:
    platform = Platform(now_ms=lambda: T0 * 1000)
    async with running(platform), open_gateway(platform, WrongClock()) as gateway:
        gateway.store("29", {"Corriente A": 1})
        await gateway.flush()
        gateway.store("30", {"Corriente A": 1})
        await gateway.flush()
    assert all(abs(at - T0) <= 2 for _, at, _ in platform.arrivals)
    assert {device for device, _, _ in platform.arrivals} == {"29", "30"}


async def test_warnings_are_counted_per_rule_and_shown(open_gateway: Open, notices: list[Notice]) -> None:
    platform = Platform()
    platform.warnings = [warning("Nadie", "refused", "RV-03", T0), warning("B", "not_taken", "RV-04", None)]
    async with running(platform), open_gateway(platform) as gateway:
        gateway.store("29", {"Nadie": 1, "B": 2}, T0)
        summary = await gateway.flush()
    assert summary.run.warnings == {"not_taken:RV-04": 1, "refused:RV-03": 1}
    shown = [notice.text for notice in notices if notice.kind == "warning"]
    assert shown == [
        f"device 29, Nadie at {T0}: refused by RV-03: m",
        "device 29, B: not_taken by RV-04: m",
    ]


async def test_of_two_processes_on_one_state_directory_one_sends(open_gateway: Open) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as first, first.sending():
        await asyncio.sleep(0)
        async with open_gateway(platform) as second:
            second.store("29", {"Corriente A": 1}, T0)
            with pytest.raises(AnotherSenderError):
                await second.flush()
    assert len(platform.arrivals) == 1


async def test_trouble_is_told_once_and_its_end_once(open_gateway: Open, notices: list[Notice]) -> None:
    platform = Platform(faults=scripted([Fault.UNAVAILABLE] * 5))
    async with running(platform), open_gateway(platform) as gateway:
        gateway.store("29", {"Corriente A": 1}, T0)
        await gateway.flush()
    assert [n.kind for n in notices if n.kind in {"trouble", "recovered"}] == ["trouble", "recovered"]


async def test_a_cancelled_flush_loses_nothing(open_gateway: Open) -> None:
    platform = Platform(faults=lambda: Fault.UNAVAILABLE)
    async with running(platform), open_gateway(platform) as gateway:
        gateway.outbox.store(measures("29", 10))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gateway.flush(), 0.2)
        assert gateway.summary().waiting == 10
        platform.faults = scripted([])
        assert (await gateway.flush()).waiting == 0


async def test_the_result_of_every_batch_is_read_and_counted_once(open_gateway: Open) -> None:
    platform = Platform()
    platform.refused_sensors, platform.pending_polls = {"Voltaje A-N": "RV-07"}, 2
    async with running(platform), open_gateway(platform) as gateway:
        gateway.outbox.store(measures("29", 250))
        summary = await gateway.flush()
        assert (await gateway.flush()).run == summary.run
    assert (summary.run.accepted, summary.run.refused, summary.run.refused_per_rule) == (250, 250, {"RV-07": 250})
    assert (summary.awaiting_result, summary.run.unread) == (0, 0)


async def test_a_result_that_is_no_longer_to_be_had_counts_as_unread(open_gateway: Open) -> None:
    platform = Platform()
    platform.forgets_batches = True
    async with running(platform), open_gateway(platform) as gateway:
        gateway.outbox.store(measures("29", 5))
        summary = await gateway.flush()
    assert (summary.run.accepted, summary.run.unread, summary.awaiting_result) == (0, 10, 0)


async def test_measures_go_on_being_stored_without_a_good_token(
    open_gateway: Open, notices: list[Notice], state: Path
) -> None:
    async with running(Platform()) as platform, open_gateway(platform) as gateway:
        TokenFile(state / TOKEN_FILE).write(TokenPair("e30.e30.e30"))
        async with gateway.sending():
            gateway.store("29", {"Corriente A": 1}, T0)
            while not notices:  # noqa: ASYNC110  # the client's notices have no event
                await asyncio.sleep(0.01)
            gateway.store("29", {"Corriente A": 2}, T0 + 1)
            TokenFile(state / TOKEN_FILE).write(TokenPair(platform.issued_refresh_token()))
        assert gateway.summary().run.sent_measures == 2
    assert notices[0].kind == "credentials"


async def test_a_captive_portal_is_no_server_time(open_gateway: Open) -> None:
    platform = Platform(time_faults=scripted([Fault.CAPTIVE_PORTAL, Fault.BAD_GATEWAY]))
    async with running(platform), open_gateway(platform) as gateway:
        gateway.store("29", {"Corriente A": 1})
        assert (await gateway.flush()).repeats == 2
