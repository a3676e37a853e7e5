"""The images and the whole of docker-compose.yml, each made once for the tests marked `docker`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.build import build_all
from tests.images.engine import Engine
from tests.images.platform import Containers, brought_up
from tests.images.stand_ins import make_stand_ins


@pytest.fixture(scope="session")
def images(docker: Engine) -> Engine:
    """With every image of ours built from this checkout."""
    build_all(docker)
    return docker


@pytest.fixture(scope="session")
def all_images(images: Engine, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """With those of others too."""
    if images.own:
        make_stand_ins(images, tmp_path_factory.mktemp("stand-ins"))
    return images


@pytest.fixture(scope="module")
def containers(all_images: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """The platform, brought up the way `make compose-up` does it."""
    with brought_up(all_images, tmp_path_factory.mktemp("compose") / "env", "metering-test") as started:
        yield started


@pytest.fixture
def three_brokers(all_images: Engine, tmp_path: Path) -> Iterator[Containers]:
    """The platform as `make compose-up BROKERS=3` brings it up."""
    with brought_up(all_images, tmp_path / "env", "metering-three", brokers="3") as started:
        yield started
