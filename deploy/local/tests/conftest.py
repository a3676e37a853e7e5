"""A local stack for the tests that look at it from outside."""

from collections.abc import Iterator

import pytest

from metering_local.testing_stack import LocalStack, local_stack


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """One that is up; tests that hurt it leave it up again."""
    local = local_stack(tmp_path_factory.mktemp("stack"))
    try:
        local.up()
        yield local
    finally:
        local.run("clean")
