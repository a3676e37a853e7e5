"""The gateway's tokens against a platform that rotates them: half-life, wrong clocks, lost answers, two processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from metering_gateway import NoTokenError
from metering_gateway.api import InputApi
from metering_gateway.clock import GatewayClock
from metering_gateway.conformance import Fault, Platform, running, scripted
from metering_gateway.token_file import TokenFile, TokenPair
from metering_gateway.tokens import RefreshFailedError, Tokens

pytestmark = pytest.mark.fast

T0 = 1_773_241_500


class Time:
    """The platform's and the gateway's; the gateway's wall is off by `wrong_by`."""

    def __init__(self, wrong_by: float = 0) -> None:
        self.now = float(T0)
        self.wrong_by = wrong_by

    def platform_ms(self) -> int:
        return round(self.now * 1000)

    def wall_ms(self) -> int:
        return round((self.now + self.wrong_by) * 1000)

    def steady_seconds(self) -> float:
        return self.now

    def boot(self) -> str:
        return "boot"


class Held:
    """Tokens as one process holds them, and what they stand on."""

    def __init__(self, platform: Platform, tokens: Tokens, file: TokenFile) -> None:
        self.platform = platform
        self.tokens = tokens
        self.file = file


@asynccontextmanager
async def held(folder: Path, time: Time, platform: Platform | None = None) -> AsyncIterator[Held]:
    made = platform or Platform(access_seconds=1000, now_ms=time.platform_ms)
    file = TokenFile(folder / "token.json")
    async with running(made), InputApi(made.url, 5) as api:
        file.write(TokenPair(made.issued_refresh_token()))
        yield Held(made, Tokens(file, folder / "lock", api, GatewayClock(time)), file)


async def test_a_token_serves_until_half_of_its_life_and_is_then_renewed(tmp_path: Path) -> None:
    time = Time()
    async with held(tmp_path, time) as gateway:
        first = await gateway.tokens.access()
        time.now += 499
        assert await gateway.tokens.access() == first
        time.now += 2
        assert await gateway.tokens.access() != first


@pytest.mark.parametrize("wrong_by", [-300_000_000, -3_600, 3_600, 300_000_000])
async def test_no_wrong_clock_makes_a_token_of_this_process_old_or_young(tmp_path: Path, wrong_by: float) -> None:
    time = Time(wrong_by)
    async with held(tmp_path, time) as gateway:
        first = await gateway.tokens.access()
        time.now += 499
        assert await gateway.tokens.access() == first
        time.now += 2
        assert await gateway.tokens.access() != first


async def test_past_half_life_the_old_one_serves_while_none_can_be_had(tmp_path: Path) -> None:
    time = Time()
    async with held(tmp_path, time) as gateway:
        first = await gateway.tokens.access()
        gateway.platform.refresh_faults = lambda: Fault.UNAVAILABLE
        time.now += 900
        assert await gateway.tokens.access() == first
        time.now += 200
        with pytest.raises(RefreshFailedError):
            await gateway.tokens.access()
        gateway.platform.refresh_faults = scripted([])
        assert await gateway.tokens.access() != first


async def test_a_lost_answer_is_asked_for_again_with_the_same_token(tmp_path: Path) -> None:
    time = Time()
    async with held(tmp_path, time) as gateway:
        issued = gateway.file.read().refresh
        gateway.platform.refresh_faults = scripted([Fault.CUT_LANDED, Fault.UNAVAILABLE_LANDED])
        for _ in range(2):
            with pytest.raises(RefreshFailedError):
                await gateway.tokens.access()
            assert gateway.file.read() == TokenPair(issued)
        await gateway.tokens.access()
    assert gateway.platform.family.refused == 0


async def test_of_two_that_renew_at_once_one_asks_and_both_have_it(tmp_path: Path) -> None:
    time = Time()
    async with held(tmp_path, time) as gateway, InputApi(gateway.platform.url, 5) as api:
        other = Tokens(gateway.file, tmp_path / "lock", api, GatewayClock(time))
        both = await asyncio.gather(gateway.tokens.renew(None), other.renew(None))
        assert both[0] == both[1]
    assert gateway.platform.family.rotations == 1


async def test_without_a_token_it_is_said_what_to_do(tmp_path: Path) -> None:
    async with held(tmp_path, Time()) as gateway:
        (tmp_path / "token.json").unlink()
        with pytest.raises(NoTokenError, match="import"):
            await gateway.tokens.access()


async def test_a_proxys_refusal_says_nothing_about_the_token(tmp_path: Path) -> None:
    async with held(tmp_path, Time()) as gateway:
        gateway.platform.refresh_faults = scripted([Fault.FORBIDDEN_BY_PROXY])
        with pytest.raises(RefreshFailedError, match="403"):
            await gateway.tokens.access()
        await gateway.tokens.access()
