"""A Docker engine for the tests marked `docker`, wherever they stand: nothing is started where they are deselected."""

import os
from collections.abc import Iterator

import pytest

from metering_local.checkout import TOOLS
from metering_local.compose import image_of
from metering_local.postgres_user import OWN_BUILD, has_timescaledb
from tests.images.engine import Engine, engine
from tests.images.stand_ins import make_stand_in

ENGINE_FOLDER = TOOLS / "docker"
"""Kept between runs: what was built once is not built again."""


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    with engine(ENGINE_FOLDER) as started:
        yield started


@pytest.fixture(scope="session")
def timescaledb_image(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image of docker-compose.yml's database, for testcontainers.

    On an engine of our own it is the TimescaleDB build that METERING_POSTGRES_PREFIX names.
    """
    if not docker.own:
        yield image_of("postgres")
        return
    assert has_timescaledb(), f"this engine pulls nothing: {OWN_BUILD} must name a PostgreSQL with TimescaleDB"
    name = make_stand_in(docker, "postgres", tmp_path_factory.mktemp("timescaledb"))
    settings = {"DOCKER_HOST": docker.host, "TESTCONTAINERS_RYUK_DISABLED": "true"}
    before = {variable: os.environ.get(variable) for variable in settings}
    os.environ.update(settings)
    yield name
    for variable, value in before.items():
        os.environ.pop(variable) if value is None else os.environ.update({variable: value})
