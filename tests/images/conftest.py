"""An engine, the images and the whole of docker-compose.yml, each made once for the tests marked `docker`."""

from collections.abc import Iterator

import pytest

from metering_local.checkout import TOOLS
from metering_local.process import free_port
from tests.images.build import build_all
from tests.images.engine import Engine, engine
from tests.images.platform import Containers
from tests.images.stand_ins import make_stand_ins

ENGINE_FOLDER = TOOLS / "docker"
"""Kept between runs: what was built once is not built again."""
PORTS = ("API", "POSTGRES", "KAFKA", "KAFKA_2", "KAFKA_3", "PROMETHEUS", "GRAFANA")
FILES = ["docker-compose.yml"]
WITHOUT_GRAFANA = "tests/images/without-grafana.yml"


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    with engine(ENGINE_FOLDER) as started:
        yield started


@pytest.fixture(scope="session")
def images(docker: Engine) -> Engine:
    """With every image of ours built from this checkout."""
    build_all(docker)
    return docker


@pytest.fixture(scope="session")
def containers(images: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """The platform, brought up the way `make compose-up` does it."""
    folder = tmp_path_factory.mktemp("compose")
    if images.own:
        make_stand_ins(images, folder / "stand-ins")
    env_file = folder / "env"
    ports = "".join(f"METERING_{name}_PORT={free_port()}\n" for name in PORTS)
    env_file.write_text(f"METERING_VERSION=latest\n{ports}")
    files = [*FILES, WITHOUT_GRAFANA] if images.own else FILES
    project = {"COMPOSE_PROJECT_NAME": "metering-test", "COMPOSE_FILE": ":".join(files)}
    started = Containers(images, env_file, images.environment | project)
    try:
        started.up()
        yield started
    finally:
        started.remove()
