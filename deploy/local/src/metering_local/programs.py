"""Every process of the local platform with its command and its environment: what a measure passes, as a table."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from metering_local.checkout import PROGRAMS
from metering_local.kafka import java_command, java_environment
from metering_local.login import login_name
from metering_local.postgres import server_command, server_environment
from metering_local.postgres_user import server_user
from metering_local.process import HOST
from metering_local.stack import SECOND_HOST, Stack

DURABLE: dict[str, str] = {"max_connections": "100", "shared_buffers": "256MB", "max_wal_size": "2GB"}


@dataclass(frozen=True)
class Program:
    """One process that the supervisor keeps alive."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    admin: str | None = None
    """Base URL of its health port, if it has one."""
    stop_signal: str = "SIGTERM"
    user: str | None = None


def servers(stack: Stack) -> list[Program]:
    """What the services stand on."""
    return [
        Program(
            "postgres",
            server_command(stack.postgres, DURABLE),
            server_environment(),
            stop_signal="SIGINT",
            user=server_user(),
        ),
        Program("kafka", java_command(stack.kafka), java_environment()),
    ]


def services(stack: Stack) -> list[Program]:
    """The platform's own processes, two ingest-api among them, and the load balancer before them."""
    ports = stack.ports
    listening = {"AUTH_HTTP_HOST": HOST, "AUTH_HTTP_PORT": str(ports.auth_http), "AUTH_PUBLIC_URL": stack.api_url}
    auth = listening | auth_tool_environment(stack)
    validator = {"VALIDATOR_GROUP_INSTANCE_ID": "validator-1"}
    writer = {"WRITER_GROUP_INSTANCE_ID": "writer-1"} | writer_tool_environment(stack)
    caddy = [str(PROGRAMS / "caddy"), "run", "--config", str(stack.state / "Caddyfile")]
    return [
        _service(stack, "auth", "AUTH", (HOST, ports.auth_admin), auth),
        *(_ingest(stack, number, host) for number, host in enumerate((HOST, SECOND_HOST), start=1)),
        _service(stack, "validator", "VALIDATOR", (HOST, ports.validator_admin), validator),
        _service(stack, "writer", "WRITER", (HOST, ports.writer_admin), writer),
        _registers(stack),
        _service(stack, "ecl-poller", "ECL", (HOST, ports.ecl_admin), ecl_tool_environment(stack)),
        Program("caddy", caddy, _caddy(stack)),
    ]


def kafka_environment(stack: Stack) -> dict[str, str]:
    return {"KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{stack.ports.kafka}", "KAFKA_ENVIRONMENT": "laptop"}


def auth_tool_environment(stack: Stack) -> dict[str, str]:
    """What auth and metering-admin need to reach auth's tables."""
    return {
        "AUTH_DATABASE_URL": stack.dsn("auth_service", "auth"),
        "AUTH_KEY_ENCRYPTION_KEY": stack.secrets.auth_master_key,
        "METERING_OPERATOR": login_name(),
        "AUTH_KEY_PUBLISH_SECONDS": "5",  # both ingest-api replicas are on this machine and know a new key within one
    }


def writer_tool_environment(stack: Stack) -> dict[str, str]:
    return {"WRITER_DATABASE_URL": stack.dsn("storage_writer", "storage")}


def ecl_tool_environment(stack: Stack) -> dict[str, str]:
    return {
        "ECL_DATABASE_URL": stack.dsn("ecl_service", "ecl"),
        "ECL_KEY_ENCRYPTION_KEY": stack.secrets.ecl_master_key,
    }


def admin_urls(programs: Iterable[Program], service: str) -> list[str]:
    """Health ports of a service's replicas (`ingest-api-1`, `ingest-api-2` are replicas of `ingest-api`)."""
    return [program.admin for program in programs if program.admin and program.name.rstrip("-0123456789") == service]


def _ingest(stack: Stack, number: int, host: str) -> Program:
    listening = {"INGEST_HTTP_HOST": host, "INGEST_HTTP_PORT": str(stack.ports.ingest_http)}
    return _service(stack, f"ingest-api-{number}", "INGEST", (host, stack.ports.ingest_admin), listening)


def _registers(stack: Stack) -> Program:
    """The writer's second program."""
    port = stack.ports.registers_admin
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONUNBUFFERED": "1",
        "REGISTERS_ADMIN_HOST": HOST,
        "REGISTERS_ADMIN_PORT": str(port),
        "REGISTERS_DATABASE_URL": stack.dsn("storage_writer", "storage"),
    }
    command = [sys.executable, "-m", "metering_writer", "registers"]
    return Program("registers", command, environment, admin=f"http://{HOST}:{port}")


def _service(stack: Stack, name: str, prefix: str, admin: tuple[str, int], own: dict[str, str]) -> Program:
    module = "metering_" + name.rstrip("-0123456789").replace("-", "_")
    host, port = admin
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONUNBUFFERED": "1",
        f"{prefix}_ADMIN_HOST": host,
        f"{prefix}_ADMIN_PORT": str(port),
        f"{prefix}_LOG_LEVEL": "info",
        **kafka_environment(stack),
        **own,
    }
    return Program(name, [sys.executable, "-m", module], environment, admin=f"http://{host}:{port}")


def _caddy(stack: Stack) -> dict[str, str]:
    home = str(stack.state / "caddy")
    return {"HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "GOGC": "400", "GOMAXPROCS": "2"}
