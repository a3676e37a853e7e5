"""Kafka and PostgreSQL beside the cluster, as production has them: the local stack's servers, open to pods too."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from metering_cluster.network import Network
from metering_jobs.databases import make_databases
from metering_local import kafka, postgres, postgres_tls
from metering_local.checkout import PROGRAMS
from metering_local.free_ports import free_port
from metering_local.kafka import KafkaFiles, KafkaServer
from metering_local.kafka_security import ADMIN
from metering_local.postgres import SUPERUSER, THROW_AWAY, PostgresServer
from tests.deploy.stand.locks import NEXT, Locks

LISTENER = "PODS"


@dataclass(frozen=True)
class Beside:
    """What the chart is pointed at; tests themselves come over this machine's loopback."""

    network: Network
    kafka_files: KafkaFiles
    kafka_server: KafkaServer
    kafka_port: int
    postgres: PostgresServer
    locks: Locks | None

    def values(self) -> dict[str, Any]:
        """The chart's: where the servers are, and what they ask for."""
        locks = self.locks.values() if self.locks else {"kafka": {}, "postgresql": {}}
        return {
            "kafka": {"bootstrapServers": f"{self.network.host}:{self.kafka_port}", **locks["kafka"]},
            "postgresql": {"host": self.network.host, "port": self.postgres.files.port, **locks["postgresql"]},
        }

    def password(self, role: str) -> str:
        return urlsplit(self.postgres.dsn(role, "postgres")).password or ""

    def dsn(self, role: str, database: str) -> str:
        """Over this machine's loopback."""
        dsn = self.postgres.dsn(role, database)
        return f"{dsn}?sslmode=verify-ca&sslrootcert={self.locks.trusted_file}" if self.locks else dsn

    def kafka_environment(self, user: str) -> dict[str, str]:
        """Of a tool over this machine's loopback, as that user if the broker asks for one."""
        where = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka_server.bootstrap, "KAFKA_ENVIRONMENT": "laptop"}
        return where | (self.locks.environment(user) if self.locks else {})

    def take_new_certificates(self) -> None:
        """Of the locks' present authority: PostgreSQL reads its own again, the only broker is restarted."""
        assert self.locks is not None
        postgres_tls.install(self.postgres.files.data, self.locks.postgres_certificate())
        _let_pods_in(self.postgres, self.network, self.locks)
        directory, ports = self.kafka_files.directory, (self.kafka_files.port, self.kafka_files.controller_port)
        files = kafka.prepare(directory, *ports, self.locks.security)
        _add_listener(files, self.network, self.kafka_port, self.locks)
        self.kafka_server.restart()


@contextmanager
def running(folder: Path, network: Network, locks: Locks | None = None) -> Iterator[Beside]:
    """Both servers with their roles and databases; they end with the block."""
    with ExitStack() as stack:
        port = free_port()
        security = locks.security if locks else None
        files = kafka.prepare(folder / "kafka", free_port(), free_port(), security)
        _add_listener(files, network, port, locks)
        broker = KafkaServer(files)
        stack.callback(broker.kill)
        broker.start()
        listening = {"listen_addresses": f"127.0.0.1,{network.host}", "max_connections": "120"}
        options, tls = dict(THROW_AWAY) | listening, locks.postgres_certificate() if locks else None
        database = stack.enter_context(postgres.start(folder / "postgres", options=options, tls=tls))
        _let_pods_in(database, network, locks)
        asyncio.run(make_databases(SecretStr(database.dsn(SUPERUSER, "postgres")), {}))
        beside = Beside(network, files, broker, port, database, locks)
        if locks:
            _make_acls(beside)
        yield beside


def _let_pods_in(database: PostgresServer, network: Network, locks: Locks | None) -> None:
    with (database.files.data / "pg_hba.conf").open("a") as rules:
        rules.write(f"host{'ssl' if locks else ''} all all {network.link} scram-sha-256\n")
    database.sql("SELECT pg_reload_conf();")


def _make_acls(beside: Beside) -> None:
    """For each component's principal, and for the one that takes its place while passwords change."""
    environment = os.environ | beside.kafka_environment(ADMIN)
    for prefix in ([], ["--prefix", NEXT]):
        command = [str(PROGRAMS / "metering-topics"), "acls", "--apply", *prefix]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def _add_listener(files: KafkaFiles, network: Network, port: int, locks: Locks | None) -> None:
    """One more, whose advertised address pods can reach."""
    lines = dict(line.split("=", 1) for line in files.properties.read_text().splitlines())
    for name in ("listeners", "advertised.listeners"):
        lines[name] += f",{LISTENER}://{network.host}:{port}"
    lines["listener.security.protocol.map"] += f",{LISTENER}:{'SASL_SSL' if locks else 'PLAINTEXT'}"
    lines.setdefault("inter.broker.listener.name", "PLAINTEXT")
    if locks:
        lines |= {name: str(text) for name, text in locks.pods_listener(LISTENER).items()}
    files.properties.write_text("".join(f"{name}={text}\n" for name, text in lines.items()))
