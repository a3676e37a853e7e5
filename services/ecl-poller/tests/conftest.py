"""The poller's fixtures."""

from collections.abc import AsyncIterator

import pytest

from tests.emulators.ecl_portal.line import Line, connected


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async with connected() as line:
        yield line
