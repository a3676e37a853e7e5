"""One secured platform for all tests of the wire, with the site that sends to it."""

from collections.abc import Iterator

import pytest

from tests.integration.otlp_collector import Collector, collecting
from tests.integration.secured_platform import SecuredPlatform, running
from tests.integration.site import Site, register


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[SecuredPlatform]:
    with running(tmp_path_factory.mktemp("secured"), collector.url) as platform:
        yield platform


@pytest.fixture(scope="session")
def site(secured: SecuredPlatform) -> Site:
    return register(secured)
