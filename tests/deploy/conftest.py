"""One cluster with one release for the tests of mark `kubernetes`; what a test changes of the release it puts back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.cluster import beside, front, images, node
from tests.deploy.cluster.node import Node
from tests.deploy.cluster.release import Release, master_key
from tests.e2e.platform import Platform


@pytest.fixture(scope="session")
def cluster() -> Iterator[Node]:
    """A node that pods run on, with the project's images."""
    with node.running() as running:
        running.import_image(images.pause_archive(running.places.state))
        running.import_image(images.project_archive())
        yield running


@pytest.fixture(scope="session")
def release(cluster: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart, installed and ready, against a Kafka and a PostgreSQL beside the cluster."""
    folder = tmp_path_factory.mktemp("release")
    with beside.running(folder, cluster.network) as servers:
        installed = Release(cluster, servers, {"auth": master_key(), "ecl": master_key()}, folder)
        installed.prepare()
        installed.install()
        import_dictionary(installed)
        yield installed


@pytest.fixture
def platform(release: Release, tmp_path: Path) -> Iterator[Platform]:
    """The release as an outsider sees it: its base URL and its read-only SQL; operators' tools come over loopback."""
    with front.running(tmp_path / "front", release.address("auth"), release.address("ingest-api")) as url:
        yield Platform(os.environ | release.tools() | {"METERING_API_URL": url})


def import_dictionary(release: Release) -> None:
    """As the chart's notes tell it."""
    file = "/opt/metering/share/sensor_dictionary.json"
    release.kubectl.run("exec", "deployment/metering-auth", "--", "metering-admin", "sensor", "import", file)
