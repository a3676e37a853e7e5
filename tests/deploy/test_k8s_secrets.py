"""Secrets are changed on a running cluster as docs/operating.md tells it, while gateways send."""

import asyncio
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from metering_jobs.databases import make_databases
from metering_local.checkout import ROOT
from metering_local.postgres import SUPERUSER
from tests.deploy.stand.load import sending
from tests.deploy.stand.release import NAME, Release, master_key
from tests.e2e.gateway import Site, element, post, register
from tests.e2e.platform import Platform, eventually

pytestmark = pytest.mark.kubernetes

ROLES = {"auth_service": "auth", "storage_writer": "storage", "ecl_service": "ecl"}
"""Each service's role, and its database."""


async def test_new_passwords_of_the_databases_reach_every_service(release: Release, platform: Platform) -> None:
    postgres = release.beside.postgres
    before = {role: postgres.dsn(role, database) for role, database in ROLES.items()}
    try:
        async with sending(platform, "passwords") as load:
            new = {role: SecretStr(postgres.add_role(role)) for role in ROLES}
            await make_databases(SecretStr(postgres.dsn(SUPERUSER, "postgres")), new)
            await asyncio.to_thread(release.write_secrets)
            await asyncio.to_thread(release.renew_pods)
        assert load.failures == {}
        await load.await_stored()
        for role, database in ROLES.items():
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(before[role])
            assert await opens(postgres.dsn(role, database))
        again = Platform(platform.environment | release.tools())
        async with sending(again, "passwords-after", devices=1) as later:
            await asyncio.sleep(2)
        assert later.failures == {}
        await later.await_stored()
    finally:
        await asyncio.to_thread(release.install)


async def test_auths_master_key_is_changed_while_gateways_send(release: Release, platform: Platform) -> None:
    before = master_key_ids(release)
    try:
        async with sending(platform, "master-key") as load:
            await asyncio.to_thread(begin_master_key, release, "auth")
            assert told(release, "auth", "metering-admin", "key", "rewrap")["rewrapped"] >= 1
            assert len(after := master_key_ids(release)) == 1
            assert after.isdisjoint(before)
            await asyncio.to_thread(finish_master_key, release, "auth")
        assert load.failures == {}
        await load.await_stored()
        again = Platform(platform.environment | release.tools())
        site = await register(again, "after the master key", "29")
        assert await status(again, site) == 201
    finally:
        await asyncio.to_thread(release.install)


async def test_the_pollers_master_key_is_changed(release: Release, platform: Platform, tmp_path: Path) -> None:
    with portal() as emulator:
        serial = add_controller(platform, emulator, tmp_path)
        try:
            await asyncio.to_thread(begin_master_key, release, "ecl-poller")
            assert told(release, "ecl-poller", "metering-ecl", "controller", "rewrap") == {"rewrapped": 1}
            await asyncio.to_thread(finish_master_key, release, "ecl-poller")
            again = Platform(platform.environment | release.tools())
            [opened] = again.run("metering-ecl", "controller", "test", serial)
            assert opened["opens"], opened
        finally:
            await asyncio.to_thread(release.install)


async def test_a_withdrawn_key_ends_its_tokens_and_gateways_go_on_with_another(
    release: Release, platform: Platform
) -> None:
    site = await register(platform, "withdrawn", "29")
    assert await status(platform, site) == 201
    [active] = [
        key["kid"] for key in told(release, "auth", "metering-admin", "key", "list") if key["state"] == "active"
    ]
    withdrawn = told(release, "auth", "metering-admin", "key", "withdraw", active)
    assert withdrawn["published"]

    async def seen() -> set[int]:
        return {await status(platform, site) for _ in range(8)}

    await eventually(seen, lambda statuses: statuses == {401}, seconds=15)
    again = await register(platform, "after the withdrawal", "30")
    assert await status(platform, again) == 201


async def status(platform: Platform, site: Site) -> int:
    """Of the answer to one measure."""
    measure = element(site.number, {int(time.time()): [("Corriente A", 1.5)]})
    return (await post(platform, site.token, [measure]))[0]


def begin_master_key(release: Release, component: str) -> None:
    """The new key beside the old one, in every pod."""
    release.previous_keys[component] = release.master_keys[component]
    release.master_keys[component] = master_key()
    release.write_secrets()
    release.renew_pods()


def finish_master_key(release: Release, component: str) -> None:
    """The old key is nowhere any more."""
    del release.previous_keys[component]
    release.write_secrets()
    release.renew_pods()
    held = release.kubectl.get("secret", f"{NAME}-{component}")["data"]
    assert "key-encryption-key-previous" not in held


def told(release: Release, component: str, *command: str) -> Any:
    """What one of the platform's tools prints in a pod, where it finds its settings."""
    return json.loads(
        release.kubectl.run(
            "exec", f"deployment/{NAME}-{component}", "--", "env", "METERING_OPERATOR=test", *command, "--json"
        ).stdout
    )


def master_key_ids(release: Release) -> set[str]:
    """Those under which signing keys that may still sign are sealed."""
    keys = told(release, "auth", "metering-admin", "key", "list")
    return {key["masterKeyId"] for key in keys if key["masterKeyId"]}


async def opens(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        return bool(await connection.fetchval("SELECT true"))
    finally:
        await connection.close()


@contextmanager
def portal() -> Iterator[Mapping[str, Any]]:
    """One controller on this machine; the cluster does not reach it, the tools of these tests do."""
    where = ["--dk-count", "1", "--com-count", "0", "--rate", "0", "--history-hours", "2"]
    command = [sys.executable, "-m", "tests.emulators.ecl_portal", *where]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def add_controller(platform: Platform, emulator: Mapping[str, Any], folder: Path) -> str:
    serial = str(emulator["serials"]["dk"][0])
    codes = {"serverCode": emulator["serverCode"], "accessCode": emulator["accessCode"]}
    row = {"serial": serial, "portal": emulator["dkUrl"], **codes}
    file = folder / "controllers.csv"
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, row)
        writer.writeheader()
        writer.writerow(row)
    platform.run("metering-ecl", "controller", "add", "--file", str(file))
    return serial
