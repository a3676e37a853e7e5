"""The platform's clock: the offset and its error, the half-life of a token, a wall clock that is set meanwhile."""

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_gateway.clock import GatewayClock, SystemTime
from metering_gateway.domain.claims import Claims, UnreadableTokenError, read_claims, renewal_due
from metering_gateway.domain.server_clock import Offset, best, measured_offset, server_time_ms

pytestmark = pytest.mark.fast

MOMENTS = st.integers(0, 4_000_000_000_000)
DELAYS = st.integers(0, 60_000)


@given(MOMENTS, st.integers(-(10**12), 10**12), DELAYS, DELAYS)
def test_the_true_offset_lies_within_the_stated_error(sent: int, true_offset: int, there: int, back: int) -> None:
    server = sent + there + true_offset
    measured = measured_offset(sent, server, sent + there + back)
    assert abs(measured.offset_ms - true_offset) <= measured.error_ms
    assert measured.error_ms <= (there + back) // 2 + 2


def test_the_shortest_round_trip_is_trusted() -> None:
    assert best([Offset(5, 90), Offset(7, 3), Offset(-4, 10)]) == Offset(7, 3)


def test_the_published_example_is_read_to_the_millisecond() -> None:
    assert server_time_ms({"timestamp": 1583939118, "datetime": "2020-03-11T15:05:18.021Z"}) == 1583939118021


def test_without_a_datetime_the_middle_of_the_second_is_meant() -> None:
    assert server_time_ms({"timestamp": 1583939118}) == 1583939118500


@pytest.mark.parametrize("document", [{}, {"timestamp": "x"}, {"datetime": "2020-03-11T15:05:18"}, {"datetime": "x"}])
def test_an_answer_without_a_time_is_an_error(document: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"time|isoformat"):
        server_time_ms(document)


class SetClock:
    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000, 50.0

    def wall_ms(self) -> int:
        return self.wall

    def steady_seconds(self) -> float:
        return self.steady

    def boot(self) -> str:
        return "boot"


def test_a_wall_clock_that_is_set_while_we_run_moves_nothing() -> None:
    local = SetClock()
    clock = GatewayClock(local)
    clock.offset = Offset(2_000, 1)
    local.wall, local.steady = 9_999_999_999, 53.0
    assert clock.local_ms() == 1_003_000
    assert clock.now_ms() == 1_005_000


def test_the_machines_own_clock_names_its_boot() -> None:
    system = SystemTime()
    assert system.boot() == SystemTime().boot()
    assert abs(system.wall_ms() - time.time() * 1000) < 1_000
    assert system.steady_seconds() > 0


def test_refresh_falls_due_at_half_of_the_tokens_life() -> None:
    claims = Claims(1000, 11_800, "1", "2")
    assert not renewal_due(claims, 6_399)
    assert renewal_due(claims, 6_400)


def token(payload: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip('=')}.c2ln"


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_claims_are_read_without_padding(issued: int, life: int) -> None:
    read = read_claims(token({"iat": issued, "exp": issued + life, "aud": "1", "sub": "2", "jti": "x"}))
    assert read == Claims(issued, issued + life, "1", "2")


@given(st.text())
def test_what_is_no_token_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UnreadableTokenError):
        read_claims(text)


@pytest.mark.parametrize("payload", [[], {}, {"iat": None}, 7, {"iat": 1, "exp": 2, "aud": "1"}])
def test_claims_that_are_missing_are_no_token(payload: object) -> None:
    with pytest.raises(UnreadableTokenError):
        read_claims(token(payload))
