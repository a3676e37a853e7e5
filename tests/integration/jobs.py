"""A release's jobs, run before its services: databases made as the superuser, migrated as their owners."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from metering_jobs.databases import DATABASES, ROLES
from metering_local.postgres import SUPERUSER

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
JOB_SECONDS = 120


def make_databases(dsn: Callable[[str, str], str]) -> None:
    """`dsn` gives the URL with which a role reaches a database; the roles' passwords are those in it."""
    passwords = {f"JOBS_PASSWORD_{role.upper()}": urlsplit(dsn(role, "postgres")).password or "" for role in ROLES}
    _job(dsn(SUPERUSER, "postgres"), passwords, "databases")
    for database in DATABASES:
        _job(dsn(database.owner, database.name), {}, "migrate", database.name)


def check_done(done: "subprocess.CompletedProcess[str]") -> None:
    assert done.returncode == 0, f"{done.args}: {done.stdout[-1_000:]} {done.stderr[-2_000:]}"


def _job(url: str, own: dict[str, str], *arguments: str) -> None:
    where = {"PATH": os.environ["PATH"], "JOBS_DATABASE_URL": url, "JOBS_SERVICES_DIR": str(ROOT / "services")}
    command = [str(TOOLS / "metering-jobs"), *arguments]
    check_done(
        subprocess.run(command, env=where | own, capture_output=True, text=True, check=False, timeout=JOB_SECONDS)
    )
