"""Kafka and PostgreSQL beside the cluster, as production has them: the local stack's servers, open to pods too."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from metering_common.settings import KafkaSettings
from metering_jobs.databases import make_databases
from metering_local import kafka, postgres
from metering_local.kafka import KafkaServer
from metering_local.postgres import SUPERUSER, THROW_AWAY, PostgresServer
from metering_local.process import free_port
from tests.deploy.cluster.network import Network


@dataclass(frozen=True)
class Beside:
    """What the chart is pointed at; tests themselves come over this machine's loopback."""

    network: Network
    kafka_server: KafkaServer
    kafka_port: int
    postgres: PostgresServer

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.kafka_server.bootstrap, environment="laptop")

    @property
    def pods_bootstrap(self) -> str:
        return f"{self.network.host}:{self.kafka_port}"

    def password(self, role: str) -> str:
        return urlsplit(self.postgres.dsn(role, "postgres")).password or ""


@contextmanager
def running(folder: Path, network: Network) -> Iterator[Beside]:
    """Both servers with their roles and databases; they end with the block."""
    with ExitStack() as stack:
        port = free_port()
        broker = KafkaServer(_with_listener(kafka.prepare(folder / "kafka", free_port(), free_port()), network, port))
        stack.callback(broker.kill)
        broker.start()
        listening = {"listen_addresses": f"127.0.0.1,{network.host}", "max_connections": "120"}
        database = stack.enter_context(postgres.start(folder / "postgres", options=dict(THROW_AWAY) | listening))
        with (database.files.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network.link} scram-sha-256\n")
        database.sql("SELECT pg_reload_conf();")
        asyncio.run(make_databases(SecretStr(database.dsn(SUPERUSER, "postgres")), {}))
        yield Beside(network, broker, port, database)


def _with_listener(files: kafka.KafkaFiles, network: Network, port: int) -> kafka.KafkaFiles:
    """A second listener whose advertised address pods can reach."""
    lines = []
    for line in files.properties.read_text().splitlines():
        name = line.partition("=")[0]
        if name in ("listeners", "advertised.listeners"):
            line += f",PODS://{network.host}:{port}"  # noqa: PLW2901
        if name == "listener.security.protocol.map":
            line += ",PODS:PLAINTEXT"  # noqa: PLW2901
        if name == "controller.listener.names":
            lines.append("inter.broker.listener.name=PLAINTEXT")
        lines.append(line)
    files.properties.write_text("\n".join(lines) + "\n")
    return files
