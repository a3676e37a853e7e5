"""A real PostgreSQL server on this machine, over TCP and with passwords, in which every measure ends."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGQUIT

from metering_local import postgres_tls
from metering_local.authority import Certificate
from metering_local.free_ports import free_port
from metering_local.postgres_user import binaries, data_directory, has_timescaledb, server_user
from metering_local.process import HOST, ServerFailedError, ServerProcess
from metering_local.roles import random_passwords, roles_sql
from metering_local.tether import tethered

SUPERUSER = "postgres"
THROW_AWAY = {"fsync": "off", "full_page_writes": "off", "max_connections": "60"}
"""Survives kill -9 of the server, though not of the machine: enough for what a test keeps."""


@dataclass(frozen=True)
class PostgresFiles:
    """One cluster: its data folder, its port, and the superuser's password; with a certificate it speaks TLS."""

    data: Path
    port: int
    password: str = field(repr=False)
    tls: Certificate | None = None


class PostgresServer:
    """A running server, to be paused, killed and started again by tests that hurt it."""

    def __init__(
        self, files: PostgresFiles, log: Path, passwords: Mapping[str, str], options: Mapping[str, str]
    ) -> None:
        self.files = files
        self._passwords = dict(passwords)
        command = server_command(files, options)
        self._process = ServerProcess(
            tethered(command, "SIGQUIT", server_user()), files.port, log, server_environment()
        )

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def dsn(self, role: str, database: str) -> str:
        """The URL with which `role` (one of metering_jobs.databases.ROLES, or the superuser) reaches `database`."""
        password = self.files.password if role == SUPERUSER else self._passwords[role]
        return f"postgresql://{role}:{password}@{HOST}:{self.files.port}/{database}"

    def add_role(self, role: str) -> str:
        """Remember one more role, which the caller makes, with a random password; returns the password."""
        self._passwords[role] = secrets.token_urlsafe(24)
        return self._passwords[role]

    def start(self) -> None:
        """Return when the server takes connections; ServerFailedError with its last lines otherwise."""
        self._process.start(lambda: takes_connections(self.files.port), timeout_seconds=60)

    def pause(self) -> None:
        """SIGSTOP to the postmaster: open connections go on, nobody new comes in."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    def kill(self) -> None:
        """Kill -9 to the postmaster; its sessions end by themselves at once."""
        self._process.kill()

    def stop(self) -> None:
        self._process.stop(SIGINT)

    def restart(self) -> None:
        """Start again on the same port and files; waits for the sessions of a killed server to be gone."""
        self.stop()
        self.start()

    def sql(self, script: str, database: str = "postgres") -> str:
        """Run SQL as the superuser; what it selects, one row a line."""
        return run_sql(self.files, script, database)


@contextmanager
def start(
    directory: Path,
    port: int | None = None,
    options: Mapping[str, str] = THROW_AWAY,
    tls: Certificate | None = None,
) -> Iterator[PostgresServer]:
    """A throw-away server with all roles of the platform, until the context is left; its data goes with it.

    With a certificate nobody but the superuser comes in without TLS.
    """
    directory.mkdir(parents=True, exist_ok=True)
    data = data_directory(directory / "postgres")
    server: PostgresServer | None = None
    try:
        files = prepare(data, port or free_port(), secrets.token_urlsafe(24), tls)
        passwords = random_passwords()
        server = PostgresServer(files, directory / "postgres.log", passwords, options)
        server.start()
        server.sql(roles_sql(passwords))
        yield server
    finally:
        if server is not None:
            server.resume()
            server._process.stop(SIGQUIT, timeout_seconds=5)  # noqa: SLF001  the same module's
        shutil.rmtree(data, ignore_errors=True)


def prepare(data: Path, port: int, password: str, tls: Certificate | None = None) -> PostgresFiles:
    """Make the cluster's files with initdb; left alone if they are there."""
    files = PostgresFiles(data, port, password, tls)
    if not (data / "PG_VERSION").exists():
        _initialise(files)
    if tls is not None:
        postgres_tls.install(data, tls)
    return files


def server_command(files: PostgresFiles, options: Mapping[str, str]) -> list[str]:
    """The command line of the server: TCP on this machine only, no socket file."""
    fixed = {"listen_addresses": HOST, "port": str(files.port), "unix_socket_directories": ""}
    if files.tls is not None:
        fixed |= postgres_tls.options(files.data)
    elif has_timescaledb():
        fixed |= {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
    settings = [part for name, value in (fixed | dict(options)).items() for part in ("-c", f"{name}={value}")]
    return [str(_server_binaries(files) / "postgres"), "-D", str(files.data), *settings]


def server_environment() -> dict[str, str]:
    """The environment without what libpq and the server would read from it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C.UTF-8", "TZ": "UTC"}


def takes_connections(port: int) -> bool:
    """True once the server is past its recovery."""
    command = [str(binaries() / "pg_isready"), "-q", "-h", HOST, "-p", str(port)]
    return subprocess.run(command, check=False, env=server_environment()).returncode == 0  # noqa: S603  ours


def run_sql(files: PostgresFiles, script: str, database: str = "postgres") -> str:
    """Run a psql script as the superuser; ServerFailedError with psql's words if a statement fails."""
    where = ["-h", HOST, "-p", str(files.port), "-U", SUPERUSER, "-d", database]
    command = [str(binaries() / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where]
    environment = server_environment() | {"PGPASSWORD": files.password}
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    if done.returncode != 0:
        raise ServerFailedError(f"psql: {done.stderr.strip()}")
    return done.stdout.strip()


def _server_binaries(files: PostgresFiles) -> Path:
    return binaries() if files.tls is None else postgres_tls.tls_binaries()


def _initialise(files: PostgresFiles) -> None:
    encoding = ["-E", "UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions", "--no-sync"]
    with tempfile.NamedTemporaryFile("w", dir="/tmp") as password:
        password.write(files.password)
        password.flush()
        if user := server_user():
            shutil.chown(password.name, user)
        login = ["-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password.name}"]
        initdb = [str(_server_binaries(files) / "initdb"), "-D", str(files.data), *encoding, *login]
        command = tethered(initdb, "SIGTERM", user)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=server_environment())  # noqa: S603
    if done.returncode != 0:
        raise ServerFailedError(f"initdb: {done.stderr.strip()}")
