"""A gateway with its state directory, and the platform it speaks to, with everything short."""

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from metering_gateway import BackOff, Gateway, GatewayConfig, Notice
from metering_gateway.clock import LocalTime
from metering_gateway.conformance import Platform
from metering_gateway.domain.claims import read_claims
from metering_gateway.gateway import TOKEN_FILE
from metering_gateway.token_file import TokenFile, TokenPair

Open = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def notices() -> list[Notice]:
    return []


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def open_gateway(state: Path, notices: list[Notice]) -> Open:
    """Opens the gateway of the one state directory at a platform, with a token issued by it at the first time."""

    def opened(platform: Platform, local_time: LocalTime | None = None, unknown_retry_seconds: float = 3600) -> Gateway:
        state.mkdir(mode=0o700, exist_ok=True)
        if not (state / TOKEN_FILE).exists():
            token = platform.issued_refresh_token()
            assert read_claims(token).gateway == "2"
            TokenFile(state / TOKEN_FILE).write(TokenPair(token))
        config = GatewayConfig(
            platform.url,
            state,
            answer_seconds=5,
            unknown_retry_seconds=unknown_retry_seconds,
            back_off=BackOff(0.001, 0.02),
        )
        return Gateway(config, notices.append, local_time, random.Random(7))

    return opened
