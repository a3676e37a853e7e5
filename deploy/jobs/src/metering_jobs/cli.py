"""`metering-jobs databases|migrate`: what must have run before the first measure of a release can pass."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from metering_common.service.settings import WRONG_SETTINGS, SettingsGroup, load_settings
from metering_jobs.databases import ROLES, make_databases
from metering_jobs.migrate import FOLDERS, migrate


class JobSettings(SettingsGroup):
    """`JOBS_…`; `databases` reads `JOBS_PASSWORD_<ROLE>` for each role besides."""

    model_config = SettingsConfigDict(env_prefix="JOBS_")

    database_url: SecretStr = Field(
        description="postgresql://…?sslmode=…: for `migrate` the owner's, for `databases` a superuser's"
    )
    services_dir: Path = Field(Path("services"), description="the folder with the services' migrations")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when the database is as this release wants it, 1 when not, 2 for wrong settings."""
    options = _parser().parse_args(arguments)
    settings = load_settings(JobSettings)
    try:
        if options.job == "migrate":
            return asyncio.run(migrate(options.database, settings.database_url, settings.services_dir))
        asyncio.run(make_databases(settings.database_url, _passwords()))
    except (asyncpg.PostgresError, OSError) as error:
        sys.stderr.write(f"metering-jobs: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="metering-jobs", description="One-shot jobs; each is safe to run again.")
    jobs = parser.add_subparsers(dest="job", required=True)
    jobs.add_parser("databases", help="make roles and databases as a superuser, and set the roles' passwords")
    migrating = jobs.add_parser("migrate", help="run the migrations that have not run yet, as the database's owner")
    migrating.add_argument("database", choices=sorted(FOLDERS))
    return parser


def _passwords() -> dict[str, SecretStr]:
    names = {role: f"JOBS_PASSWORD_{role.upper()}" for role in ROLES}
    missing = [name for name in names.values() if not os.environ.get(name)]
    if missing:
        sys.stderr.writelines(f"{name}: is not set\n" for name in missing)
        raise SystemExit(WRONG_SETTINGS)
    return {role: SecretStr(os.environ[name]) for role, name in names.items()}
