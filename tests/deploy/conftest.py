"""One cluster with one release for the tests of mark `kubernetes`; what a test changes of the release it puts back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from metering_cluster.node import Node
from tests.deploy.stand import front
from tests.deploy.stand import standing as stand
from tests.deploy.stand.release import Release
from tests.e2e.platform import Platform


@pytest.fixture(scope="session")
def cluster() -> Iterator[Node]:
    with stand.standing_node() as running:
        yield running


@pytest.fixture(scope="session")
def release(cluster: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    with stand.standing_release(cluster, tmp_path_factory.mktemp("release")) as installed:
        yield installed


@pytest.fixture
def platform(release: Release, tmp_path: Path) -> Iterator[Platform]:
    """The release as an outsider sees it: its base URL and its read-only SQL; operators' tools come over loopback."""
    with front.running(tmp_path / "front", release.address("auth"), release.address("ingest-api")) as url:
        yield Platform(os.environ | release.tools() | {"METERING_API_URL": url})
