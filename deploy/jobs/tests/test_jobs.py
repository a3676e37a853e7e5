"""The one-shot jobs on a real server: run twice, run against passwords of every kind, run by who may not."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from metering_jobs.databases import DATABASES, ROLES, Database
from metering_local.checkout import ROOT
from metering_local.postgres import THROW_AWAY, PostgresServer, start

JOBS = Path(sys.executable).with_name("metering-jobs")
AWKWARD = 'it\'s \\ "quoted" %s ñ'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with start(tmp_path_factory.mktemp("jobs"), options=THROW_AWAY | {"log_statement": "all"}) as running:
        yield running


def run(url: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    settings = {"JOBS_DATABASE_URL": f"{url}?sslmode=disable", "JOBS_SERVICES_DIR": str(ROOT / "services")}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JOBS_")}
    command = [str(JOBS), *arguments]
    return subprocess.run(command, env=clean | settings | environment, capture_output=True, text=True, check=False)


def passwords(suffix: str) -> dict[str, str]:
    return {f"JOBS_PASSWORD_{role.upper()}": f"{role}{suffix}" for role in ROLES}


async def opens(server: PostgresServer, role: str, password: str, database: str) -> bool:
    host, port = "127.0.0.1", server.files.port
    try:
        connection = await asyncpg.connect(user=role, password=password, database=database, host=host, port=port)
    except asyncpg.PostgresError:
        return False
    await connection.close()
    return True


async def test_every_role_reaches_its_database_and_no_other(server: PostgresServer) -> None:
    done = run(server.dsn("postgres", "postgres"), "databases", **passwords(AWKWARD))
    assert (done.returncode, done.stderr) == (0, "")
    for database in DATABASES:
        for role in ROLES:
            allowed = role in (database.owner, *database.roles)
            assert await opens(server, role, f"{role}{AWKWARD}", database.name) is allowed


async def test_run_again_it_sets_the_passwords_again(server: PostgresServer) -> None:
    for suffix in ("-first", "-second"):
        assert run(server.dsn("postgres", "postgres"), "databases", **passwords(suffix)).returncode == 0
    assert await opens(server, "storage_writer", "storage_writer-second", "storage")
    assert not await opens(server, "storage_writer", "storage_writer-first", "storage")


def test_no_password_stands_in_the_servers_log(
    server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run(server.dsn("postgres", "postgres"), "databases", **passwords("-not-for-logs"))
    folder = next(tmp_path_factory.getbasetemp().glob("jobs*"))
    log = (folder / "postgres.log").read_text()
    assert "statement: GRANT CONNECT, TEMPORARY ON DATABASE storage" in log
    assert "-not-for-logs" not in log


@pytest.mark.parametrize("database", DATABASES, ids=lambda database: database.name)
def test_migrations_run_twice_and_never_as_a_service(server: PostgresServer, database: Database) -> None:
    assert run(server.dsn("postgres", "postgres"), "databases", **passwords("-m")).returncode == 0
    name, owner, service = database.name, database.owner, database.roles[0]
    url = f"postgresql://{{role}}:{{role}}-m@127.0.0.1:{server.files.port}/{name}"
    denied = run(url.format(role=service), "migrate", name)
    assert denied.returncode != 0
    first, second = (run(url.format(role=owner), "migrate", name) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "Applied:" in first.stdout
    assert "Applied:" not in second.stdout


def test_what_is_not_set_is_named(server: PostgresServer) -> None:
    done = run(server.dsn("postgres", "postgres"), "databases")
    assert done.returncode == 2
    assert "JOBS_PASSWORD_STORAGE_WRITER: is not set" in done.stderr


def test_a_server_that_is_away_is_told_in_one_line() -> None:
    done = run("postgresql://nobody:nothing@127.0.0.1:9/postgres", "migrate", "auth")
    assert done.returncode == 1
    assert done.stderr.startswith("metering-jobs: ")
    assert len(done.stderr.splitlines()) == 1
