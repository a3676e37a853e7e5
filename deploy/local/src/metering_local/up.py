"""Brings the local platform up, whatever state it is in: the order in which a measure's way comes to life."""

import fcntl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.progress import Progress

from metering_jobs.databases import DATABASES, Database
from metering_local import kafka, kafka_jars, postgres, supervisor
from metering_local.caddyfile import caddyfile
from metering_local.checkout import DICTIONARY, PROGRAMS, ROOT
from metering_local.errors import EnvironmentProblemError
from metering_local.local_env import write_local_env
from metering_local.preflight import check_disk, check_ports
from metering_local.process import HOST, is_listening
from metering_local.programs import Program, auth_tool_environment, kafka_environment, services
from metering_local.stack import Stack

SERVER_SECONDS = 90
READY_SECONDS = 120
POLL_SECONDS = 0.05
LOG_BYTES = 64 * 1024 * 1024


class Step(NamedTuple):
    """One line of the progress display."""

    sentence: str
    action: Callable[[Stack], None]


def bring_up(stack: Stack, progress: Progress) -> None:
    """Return when the platform is ready; harmless when it is; EnvironmentProblemError in one line if it cannot be.

    Whatever was killed, the supervisor too, is brought back.
    """
    check_disk(stack.state)
    with _alone(stack):
        steps = list(_steps(stack))
        bar = progress.add_task("", total=len(steps))
        for step in steps:
            progress.update(bar, description=step.sentence)
            step.action(stack)
            progress.advance(bar)
        progress.remove_task(bar)


def _steps(stack: Stack) -> Iterator[Step]:
    yield Step("fetching Kafka (once)", lambda _: _have_kafka())
    if not supervisor.is_running(stack):
        yield Step("clearing up what a killed supervisor left", _clear_up)
        yield Step("making the servers' files", _prepare)
        yield Step("starting the supervisor", supervisor.start_supervisor)
    yield Step("starting PostgreSQL", _await_postgres)
    yield Step("making roles and databases", _make_databases)
    for database in DATABASES:
        yield Step(f"migrating {database.name}", lambda stack, database=database: _migrate(stack, database))  # type: ignore[misc]  # mypy cannot infer a lambda's default
    yield Step("starting Kafka", _await_kafka)
    yield Step("applying the topics' contracts", _apply_topics)
    yield Step("starting the services", _start_services)
    yield Step("importing the sensor dictionary (once)", _import_dictionary)
    for program in services(stack):
        yield Step(f"waiting for {program.name}", lambda stack, program=program: _await_ready(stack, program))  # type: ignore[misc]  # mypy cannot infer a lambda's default


@contextmanager
def _alone(stack: Stack) -> Iterator[None]:
    """One `up` or `down` at a time in one state folder."""
    with (stack.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _have_kafka() -> None:
    kafka_jars.jar_folder()


def _clear_up(stack: Stack) -> None:
    supervisor.leave(stack)
    supervisor.end_leftovers(stack)
    check_ports(stack)


def _prepare(stack: Stack) -> None:
    stack.make_folders()
    for log in stack.logs.glob("*.log"):
        if log.stat().st_size > LOG_BYTES:
            log.rename(log.with_suffix(".log.1"))
    (stack.state / "Caddyfile").write_text(caddyfile(stack))
    (stack.state / "caddy").mkdir(exist_ok=True)
    kafka.prepare(stack.kafka.directory, stack.ports.kafka, stack.ports.kafka_controller)
    postgres.prepare(stack.postgres.data, stack.ports.postgres, stack.secrets.superuser)
    write_local_env(stack)


def _await_postgres(stack: Stack) -> None:
    _await("postgres", stack, lambda: postgres.takes_connections(stack.ports.postgres))


def _await_kafka(stack: Stack) -> None:
    _await("kafka", stack, lambda: is_listening(stack.ports.kafka))


def _await(name: str, stack: Stack, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SERVER_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise EnvironmentProblemError(f"{name} is not ready after {SERVER_SECONDS} s: {_last_line(stack, name)}")
        time.sleep(POLL_SECONDS)


def _make_databases(stack: Stack) -> None:
    passwords = {f"JOBS_PASSWORD_{role.upper()}": password for role, password in stack.secrets.roles.items()}
    url = f"postgresql://{postgres.SUPERUSER}:{stack.secrets.superuser}@{HOST}:{stack.ports.postgres}/postgres"
    _run_job(["databases"], url, passwords, "making roles and databases")


def _migrate(stack: Stack, database: Database) -> None:
    """Which flavour of the storage's schema applies is asked of the server by the job."""
    url, where = stack.dsn(database.owner, database.name), {"JOBS_SERVICES_DIR": str(ROOT / "services")}
    _run_job(["migrate", database.name], url, where, f"migrating {database.name}")


def _run_job(arguments: list[str], url: str, environment: dict[str, str], what: str) -> None:
    _run(["metering-jobs", *arguments], {"JOBS_DATABASE_URL": f"{url}?sslmode=disable", **environment}, what)


def _apply_topics(stack: Stack) -> None:
    command = ["metering-topics", "apply", "--environment", "laptop"]
    _run(command, kafka_environment(stack), "applying the topics' contracts")


def _import_dictionary(stack: Stack) -> None:
    command = ["metering-admin", "sensor", "import", "--into-empty", str(DICTIONARY), "--json"]
    _run(command, kafka_environment(stack) | auth_tool_environment(stack), "importing the dictionary")


def _run(command: list[str], environment: dict[str, str], what: str) -> str:
    program = [str(PROGRAMS / command[0]), *command[1:]]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  ours, no shell
    if done.returncode != 0:
        output = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise EnvironmentProblemError(f"{what} failed: {output[-1]}")
    return done.stdout


def _start_services(stack: Stack) -> None:
    supervisor.start_programs(stack, [program.name for program in services(stack)])


def _await_ready(stack: Stack, program: Program) -> None:
    if program.admin is None:
        _await(program.name, stack, lambda: is_listening(stack.ports.api))
        return
    deadline = time.monotonic() + READY_SECONDS
    while reason := not_ready_reason(program.admin):
        if time.monotonic() > deadline:
            raise EnvironmentProblemError(
                f"{program.name} is not ready after {READY_SECONDS} s: {reason}; see {stack.logs / program.name}.log"
            )
        time.sleep(POLL_SECONDS)


def not_ready_reason(admin_url: str) -> str | None:
    """None if the health port says ready, else its reason or why it could not be asked."""
    try:
        with urllib.request.urlopen(f"{admin_url}/readyz", timeout=5):  # noqa: S310  always http, ours
            return None
    except urllib.error.HTTPError as error:
        return " ".join(error.read().decode(errors="replace").split()) or f"status {error.code}"
    except OSError as error:
        return f"its health port does not answer ({error})"


def _last_line(stack: Stack, name: str) -> str:
    log = stack.logs / f"{name}.log"
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"{lines[-1] if lines else 'it wrote nothing'} (see {log})"
