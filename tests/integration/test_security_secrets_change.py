"""Every secret of docs/security.md is changed once, by its commands, on a platform that goes on taking measures."""

import secrets
import subprocess
import time
from itertools import count
from typing import Any

import aiohttp
import asyncpg
import pytest

from metering_common.kafka import clients as kafka
from metering_common.service.retry import RefusedError
from metering_local import postgres_tls
from metering_local.authority import Authority
from metering_local.kafka import java_environment, tool_command
from metering_local.kafka_security import ADMIN, BROKER, MECHANISM
from tests.integration.jobs import check_done, make_databases
from tests.integration.measures import eventually, ledger, send
from tests.integration.secured_platform import SERVICES, TOOL_SECONDS, SecuredPlatform
from tests.integration.site import Site, refresh

pytestmark = pytest.mark.wire

ROLES = {"auth": "auth_service", "writer": "storage_writer", "ecl-poller": "ecl_service"}
SECONDS_AGO = count(600, 60)
UNAUTHORIZED = 401


async def check_a_measure_passes(secured: SecuredPlatform, site: Site) -> None:
    """One that nobody has sent before comes to be a row."""
    assert await ledger(secured, await send(secured, site, int(time.time()) - next(SECONDS_AGO))) == 1


def kafka_configs(secured: SecuredPlatform, *arguments: str) -> None:
    """kafka-configs.sh, as the administrator."""
    settings = secured.folder / "admin.properties"
    settings.touch(mode=0o600)
    login = f'username="{ADMIN}" password="{secured.security.users[ADMIN]}"'
    settings.write_text(
        f"security.protocol=SASL_SSL\nsasl.mechanism={MECHANISM}\nssl.truststore.type=PEM\n"
        f"ssl.truststore.location={secured.authority.file}\n"
        f"sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required {login};\n"
    )
    where = ["--bootstrap-server", secured.kafka.bootstrap, "--command-config", str(settings)]
    command = tool_command("kafka.admin.ConfigCommand", *where, *arguments)
    done = subprocess.run(
        command, env=java_environment(), capture_output=True, text=True, check=False, timeout=TOOL_SECONDS
    )
    check_done(done)


async def test_a_scram_password_in_place(secured: SecuredPlatform, site: Site) -> None:
    old, new = secured.kafka_settings("writer"), secrets.token_urlsafe(24)
    change = ("--alter", "--entity-type", "users", "--entity-name", "writer")
    kafka_configs(secured, *change, "--add-config", f"{MECHANISM}=[password={new}]")
    await check_a_measure_passes(secured, site)  # open connections live on
    with pytest.raises(RefusedError):
        await kafka.reach(old)
    secured.security.users["writer"] = new
    secured.roll("writer")
    await check_a_measure_passes(secured, site)


async def test_the_passwords_of_the_databases_roles(secured: SecuredPlatform, site: Site) -> None:
    old = [secured.dsn(role, database) for role, database in (("storage_writer", "storage"), ("auth_service", "auth"))]
    for role in ROLES.values():
        secured.postgres.add_role(role)
    make_databases(secured.dsn)
    await check_a_measure_passes(secured, site)  # open connections live on
    for dsn in old:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(dsn)
    secured.roll(*ROLES)
    await check_a_measure_passes(secured, site)
    site.token, site.refresh_token = refresh(secured, site.refresh_token)


@pytest.mark.parametrize(
    ("service", "rewrap"),
    [("auth", ("metering-admin", "key", "rewrap")), ("ecl-poller", ("metering-ecl", "controller", "rewrap"))],
)
async def test_a_master_key(secured: SecuredPlatform, site: Site, service: str, rewrap: tuple[str, ...]) -> None:
    secured.secrets[f"{service} before"] = secured.secrets[service]
    secured.secrets[service] = secrets.token_urlsafe(32)
    secured.roll(service)
    assert secured.told(service, *rewrap)["rewrapped"] >= 1
    del secured.secrets[f"{service} before"]
    secured.roll(service)
    assert secured.told(service, *rewrap) == {"rewrapped": 0}
    site.token, site.refresh_token = refresh(secured, site.refresh_token)
    await check_a_measure_passes(secured, site)


async def test_the_authority_of_kafka_and_postgresql(secured: SecuredPlatform, site: Site) -> None:
    """Both authorities are trusted, then the servers change, then the old one is trusted no more."""
    new = Authority(secured.folder / "next authority")
    secured.authority.file.write_text(secured.authority.file.read_text() + new.file.read_text())
    secured.roll(*SERVICES)
    server = new.issue(BROKER)
    (secured.authority.file.parent / f"{BROKER}.pem").write_bytes(server.both.read_bytes())
    secured.kafka.restart()
    postgres_tls.install(secured.postgres.files.data, new.issue("postgres"))
    secured.postgres.sql("SELECT pg_reload_conf()")
    await check_a_measure_passes(secured, site)
    secured.authority.file.write_text(new.file.read_text())
    secured.roll(*SERVICES)
    await check_a_measure_passes(secured, site)


async def test_the_signing_keys_and_one_that_was_stolen(secured: SecuredPlatform, site: Site) -> None:
    """The next key signs once every ingest-api knows it; what the withdrawn one signed is trusted by nobody."""

    def signing() -> Any:
        keys = secured.told("auth", "metering-admin", "key", "list")
        return next(key["kid"] for key in keys if key["state"] == "active")

    async def signing_now() -> Any:
        return signing()

    stolen, old_token = signing(), site.token
    following = secured.told("auth", "metering-admin", "key", "rotate")["kid"]
    await eventually(signing_now, lambda kid: kid == following)
    site.token, site.refresh_token = refresh(secured, site.refresh_token)
    await check_a_measure_passes(secured, site)
    assert await status_with(secured, old_token) != UNAUTHORIZED  # until it expires
    assert secured.told("auth", "metering-admin", "key", "withdraw", stolen)["published"]

    async def refused() -> int:
        return await status_with(secured, old_token)

    await eventually(refused, lambda status: status == UNAUTHORIZED)
    await check_a_measure_passes(secured, site)


async def status_with(secured: SecuredPlatform, token: str) -> int:
    """What ingest-api answers to whoever shows this token."""
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    url = f"{secured.url('ingest-api')}/api/v1/server-time"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
        return response.status
