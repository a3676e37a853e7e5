"""One local platform: its folder, its ports and its secrets; every address of a measure's way comes from here."""

import hashlib
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from metering_jobs.databases import ROLES
from metering_local.checkout import ROOT
from metering_local.errors import EnvironmentProblemError
from metering_local.kafka import KafkaFiles
from metering_local.postgres import PostgresFiles
from metering_local.postgres_user import data_directory, forget_stand_in
from metering_local.process import HOST

DEFAULT_PORT_BASE = 18_100
PORT_COUNT = 40
FIRST_PORT, LAST_PORT = 1024, 65_535
SECOND_HOST = "127.0.0.2"
"""The second ingest-api has an address of its own, as pods have: the balancer asks one health port on all of them."""


class Ports:
    """What listens where, counted from the base (METERING_PORT_BASE)."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.api = base
        self.ingest_http, self.auth_http = base + 1, base + 2
        self.kafka, self.kafka_controller, self.postgres = base + 10, base + 11, base + 12
        self.auth_admin, self.ingest_admin = base + 20, base + 21
        self.validator_admin, self.writer_admin, self.ecl_admin = base + 22, base + 23, base + 24
        self.registers_admin = base + 25

    def listeners(self) -> dict[str, tuple[str, int]]:
        """Every address that the stack needs, by what it is for."""
        return {
            "the load balancer": (HOST, self.api),
            "ingest-api 1": (HOST, self.ingest_http),
            "ingest-api 2": (SECOND_HOST, self.ingest_http),
            "auth": (HOST, self.auth_http),
            "Kafka": (HOST, self.kafka),
            "Kafka's controller": (HOST, self.kafka_controller),
            "PostgreSQL": (HOST, self.postgres),
            "auth's health": (HOST, self.auth_admin),
            "ingest-api 1's health": (HOST, self.ingest_admin),
            "ingest-api 2's health": (SECOND_HOST, self.ingest_admin),
            "the validator's health": (HOST, self.validator_admin),
            "the writer's health": (HOST, self.writer_admin),
            "ecl-poller's health": (HOST, self.ecl_admin),
            "the register program's health": (HOST, self.registers_admin),
        }


@dataclass(frozen=True)
class Secrets:
    """Made once per state folder, random; they never leave it but in the environment of what needs them."""

    roles: dict[str, str]
    superuser: str
    auth_master_key: str
    ecl_master_key: str


class Stack:
    """A platform in the folder `state`; two with different folders and port bases live side by side."""

    def __init__(self, state: Path, base: int) -> None:
        self.state = state
        self.ports = Ports(base)
        self.logs = state / "logs"
        self.local_env = state / "local.env"

    @classmethod
    def from_environment(cls) -> "Stack":
        """METERING_STATE_DIR (default: .state in the checkout) and METERING_PORT_BASE (default: as it was before)."""
        state = Path(os.environ.get("METERING_STATE_DIR") or ROOT / ".state").resolve()
        return cls(state, _port_base(state))

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.ports.api}"

    @property
    def kafka(self) -> KafkaFiles:
        return KafkaFiles(self.state / "kafka", self.ports.kafka, self.ports.kafka_controller)

    @property
    def postgres(self) -> PostgresFiles:
        password = self.secrets.superuser  # first: secrets recreated throw away data that nobody has the passwords of
        return PostgresFiles(data_directory(self.state / "postgres"), self.ports.postgres, password)

    @cached_property
    def secrets(self) -> Secrets:
        file = self.state / "secrets.json"
        if not file.exists():
            self.state.mkdir(parents=True, exist_ok=True)
            forget_stand_in(self.state / "postgres")
            write_private(file, json.dumps(_random_secrets().__dict__))
        return Secrets(**json.loads(file.read_text()))

    @property
    def control(self) -> Path:
        """Folder of the supervisor's socket: short, since a socket's path may have 107 characters, and ours alone."""
        name = hashlib.sha256(str(self.state).encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"metering-local-{os.getuid()}-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise EnvironmentProblemError(f"{folder} belongs to somebody else")
        return folder

    def make_folders(self) -> None:
        """The folders of the state, and the port base in it for commands that come later."""
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.state / "port-base").write_text(f"{self.ports.base}\n")

    def dsn(self, role: str, database: str) -> str:
        return f"postgresql://{role}:{self.secrets.roles[role]}@{HOST}:{self.ports.postgres}/{database}"


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.touch(mode=0o600)
    scratch.write_text(text)
    scratch.rename(file)


def _port_base(state: Path) -> int:
    remembered = state / "port-base"
    text = os.environ.get("METERING_PORT_BASE") or (remembered.read_text() if remembered.exists() else "")
    if not text:
        return DEFAULT_PORT_BASE
    if not text.strip().isdecimal() or not FIRST_PORT <= int(text) <= LAST_PORT - PORT_COUNT:
        raise EnvironmentProblemError(
            f"METERING_PORT_BASE is {text.strip()!r}, it must be a number from {FIRST_PORT} to {LAST_PORT - PORT_COUNT}"
        )
    return int(text)


def _random_secrets() -> Secrets:
    def text() -> str:
        return secrets.token_urlsafe(32)

    return Secrets({role: text() for role in ROLES}, text(), text(), text())
