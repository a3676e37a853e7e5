"""The whole platform against a Kafka and a PostgreSQL that trust nobody: TLS, a principal or a role per service."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from metering_common.service.settings import KafkaSettings
from metering_local import kafka, postgres
from metering_local.authority import Authority
from metering_local.free_ports import free_port
from metering_local.kafka import KafkaServer
from metering_local.kafka_security import ADMIN, KafkaSecurity
from metering_local.postgres import PostgresServer
from metering_local.process import HOST
from metering_local.up import not_ready_reason
from tests.integration.jobs import ROOT, TOOLS, check_done, make_databases

SERVICES = ("auth", "ingest-api", "validator", "writer", "ecl-poller")
PRINCIPALS = (*SERVICES, "topics", "autoscaler", ADMIN)
READY_SECONDS = 180
TOOL_SECONDS = 120


@dataclass(frozen=True)
class SecuredPlatform:
    """Addresses, and for each principal the environment that it has in production."""

    folder: Path
    authority: Authority
    kafka: KafkaServer
    security: KafkaSecurity
    postgres: PostgresServer
    ports: dict[str, int]
    collector_url: str
    secrets: dict[str, str] = field(repr=False)
    children: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def kafka_settings(self, principal: str, **changes: Any) -> KafkaSettings:
        right: dict[str, Any] = {
            "bootstrap_servers": self.kafka.bootstrap,
            "environment": "laptop",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": principal,
            "sasl_password": SecretStr(self.security.users.get(principal, "a guess")),
            "ssl_cafile": self.authority.file,
        }
        return KafkaSettings(**right | changes)

    def dsn(self, role: str, database: str) -> str:
        return f"{self.postgres.dsn(role, database)}?sslmode=verify-full&sslrootcert={self.authority.file}"

    def environment(self, principal: str) -> dict[str, str]:
        """Nothing of the caller's own but the path. The password stands in a file, as Kubernetes mounts it."""
        password = self.folder / f"{principal}.password"
        password.touch(mode=0o600)
        password.write_text(self.security.users[principal] + "\n")
        return {
            "PATH": os.environ["PATH"],
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "KAFKA_ENVIRONMENT": "laptop",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": principal,
            "KAFKA_SASL_PASSWORD_FILE": str(password),
            "KAFKA_SSL_CAFILE": str(self.authority.file),
        } | self._own(principal)

    def _own(self, principal: str) -> dict[str, str]:
        http = str(self.ports.get(f"{principal} http", 0))
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.collector_url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        own: dict[str, dict[str, str]] = {
            "auth": {
                "AUTH_DATABASE_URL": self.dsn("auth_service", "auth"),
                "AUTH_KEY_ENCRYPTION_KEY": self.secrets["auth"],
                "AUTH_KEY_ENCRYPTION_KEY_PREVIOUS": self.secrets.get("auth before", ""),
                "AUTH_KEY_PUBLISH_SECONDS": "5",
                "AUTH_HTTP_HOST": HOST,
                "AUTH_HTTP_PORT": http,
                "AUTH_PUBLIC_URL": f"http://{HOST}:{http}",
            },
            "ingest-api": {"INGEST_HTTP_HOST": HOST, "INGEST_HTTP_PORT": http, **collector},
            "validator": {"VALIDATOR_GROUP_INSTANCE_ID": "validator-0", **collector},
            "writer": {"WRITER_DATABASE_URL": self.dsn("storage_writer", "storage"), **collector},
            "ecl-poller": {
                "ECL_DATABASE_URL": self.dsn("ecl_service", "ecl"),
                "ECL_KEY_ENCRYPTION_KEY": self.secrets["ecl-poller"],
                "ECL_KEY_ENCRYPTION_KEY_PREVIOUS": self.secrets.get("ecl-poller before", ""),
            },
        }
        prefix = {"ingest-api": "INGEST", "ecl-poller": "ECL"}.get(principal, principal.upper())
        admin = str(self.ports.get(f"{principal} admin", 0))
        return own.get(principal, {}) | {f"{prefix}_ADMIN_HOST": HOST, f"{prefix}_ADMIN_PORT": admin}

    def tool(self, principal: str, *command: str) -> "subprocess.CompletedProcess[str]":
        program = [str(TOOLS / command[0]), *command[1:]]
        environment = self.environment(principal) | {"METERING_OPERATOR": "test"}
        return subprocess.run(
            program, env=environment, capture_output=True, text=True, check=False, timeout=TOOL_SECONDS, cwd=ROOT
        )

    def told(self, principal: str, *command: str) -> Any:
        """What one of the platform's tools prints with --json."""
        done = self.tool(principal, *command, "--json")
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2_000:]}"
        return json.loads(done.stdout)

    def roll(self, *services: str) -> None:
        """Ended in good order and started again, with the secrets as they are now; ready when it returns."""
        for service in services:
            _end(self.children[service])
        for service in services:
            self.children[service] = _start(self, service)
        for service in services:
            _await_ready(self, service)

    def end(self) -> None:
        for child in self.children.values():
            _end(child)

    def url(self, service: str) -> str:
        return f"http://{HOST}:{self.ports[f'{service} http']}"

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text(errors="replace")


@contextmanager
def running(folder: Path, collector_url: str) -> Iterator[SecuredPlatform]:
    """Servers with listeners for nobody, ACLs and topics made by their tools, databases migrated, services ready."""
    authority = Authority(folder / "authority")
    users = {principal: secrets.token_urlsafe(24) for principal in PRINCIPALS}
    security = KafkaSecurity(authority, users, free_port())
    ports = {f"{service} {kind}": free_port() for service in SERVICES for kind in ("http", "admin")}
    keys = {service: secrets.token_urlsafe(32) for service in ("auth", "ecl-poller")}
    with ExitStack() as stack:
        broker = stack.enter_context(kafka.start(folder, security=security))
        database = stack.enter_context(postgres.start(folder, tls=authority.issue("postgres")))
        platform = SecuredPlatform(folder, authority, broker, security, database, ports, collector_url, keys)
        check_done(platform.tool(ADMIN, "metering-topics", "acls", "--apply"))
        check_done(platform.tool("topics", "metering-topics", "apply"))
        make_databases(platform.dsn)
        stack.callback(platform.end)
        for service in SERVICES:
            platform.children[service] = _start(platform, service)
        for service in SERVICES:
            _await_ready(platform, service)
        yield platform


def _start(platform: SecuredPlatform, service: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", f"metering_{service.replace('-', '_')}"]
    with (platform.folder / f"{service}.log").open("ab") as log:
        return subprocess.Popen(command, env=platform.environment(service), stdout=log, stderr=log)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(40)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _await_ready(platform: SecuredPlatform, service: str) -> None:
    child = platform.children[service]
    url, end = f"http://{HOST}:{platform.ports[f'{service} admin']}", time.monotonic() + READY_SECONDS
    reason = None
    while child.poll() is None and time.monotonic() < end:
        if (reason := not_ready_reason(url)) is None:
            return
        time.sleep(0.1)
    raise AssertionError(f"{service} is not ready: {reason}; {platform.log(service)[-3_000:]}")
