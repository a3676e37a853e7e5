"""What is written down, what can never be changed, and what must never be written: a whole run's log is searched."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import asyncpg
import pytest
from auth_support import AuthClient
from pydantic import SecretStr

from metering_auth.domain.token_pairs import TokenPair
from metering_auth.settings import StoreSettings
from metering_common.postgres.pool import TimedPool

MASTER_KEY = SecretStr(base64.urlsafe_b64encode(bytes(range(100, 132))).decode())


class Site(NamedTuple):
    provider: int
    gateway: int


def test_every_act_is_written_with_who_when_what_from_where_before_and_after(
    admin: Callable[..., Any], site: Site
) -> None:
    """And found again by each of them."""
    device = admin("device", "add", "--provider", site.provider, "--number", "29")["id"]
    admin("device", "set", device, "--zone", "Etc/GMT-1")
    changed = admin("audit", "--action", "device.changed")[0]
    assert (changed["before"]["zone"], changed["after"]["zone"]) == ("America/Santiago", "Etc/GMT-1")
    assert changed["subject"] == f"device:{device}"
    assert all(changed[name] for name in ("id", "at", "actor", "action", "origin"))
    actions = [event["action"] for event in admin("audit")]
    assert actions == ["provider.added", "gateway.added", "device.added", "device.changed"]
    assert [event["action"] for event in admin("audit", "--action", "device.%", "--limit", 1)] == ["device.changed"]
    assert len(admin("audit", "--actor", changed["actor"])) == 4
    assert admin("audit", "--actor", "nobody") == []
    assert admin("audit", "--until", changed["at"])[-1]["action"] == "device.added"
    assert [event["id"] for event in admin("audit", "--since", changed["at"])] == [changed["id"]]
    assert len(admin("audit", "--subject", f"gateway:{site.gateway}")) == 1


def test_an_act_names_its_operator_and_the_role_that_the_database_saw(
    admin: Callable[..., Any], auth_environment: dict[str, str]
) -> None:
    """What the environment says of the login counts for nothing; an act without a name is not done."""
    admin("provider", "add", "Uno", LOGNAME="mallory", USER="mallory", SUDO_USER="mallory")
    admin("provider", "add", "Dos", "--as", "eva")
    events = admin("audit", "--action", "provider.added")
    assert [(event["actor"], event["database_role"]) for event in events] == [
        ("ana", "auth_service"),
        ("eva", "auth_service"),
    ]
    command = [sys.executable, "-m", "metering_auth.cli", "provider", "add", "Tres"]
    forged = auth_environment | {"METERING_OPERATOR": "ana\nbea"}
    done = subprocess.run(command, env=forged, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr[:36]) == (1, "metering-admin: METERING_OPERATOR: '")
    assert [provider["name"] for provider in admin("provider", "list", METERING_OPERATOR="")] == ["Uno", "Dos"]


async def test_the_role_and_the_time_of_an_event_cannot_be_given(pool: TimedPool) -> None:
    for column, value in (("database_role", "'ana'"), ("at", "now() - interval '1 day'")):
        columns = f"actor, action, subject, origin, {column}"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(f"INSERT INTO audit_event ({columns}) VALUES ('a', 'b', 'c', 'd', {value})")


async def test_the_services_role_cannot_change_the_audit(pool: TimedPool) -> None:
    await pool.execute("INSERT INTO audit_event (actor, action, subject, origin) VALUES ('a', 'b', 'c', 'd')")
    await pool.execute("GRANT ALL ON audit_event TO auth_service")  # PostgreSQL only warns that nothing was granted
    for statement in (
        "UPDATE audit_event SET actor = 'nobody'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
        "DROP TABLE audit_event",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)
    assert await pool.fetchval("SELECT count(*) FROM audit_event") == 1


async def test_nothing_secret_is_in_the_log_or_the_metrics_of_a_whole_run(
    start_process: Callable[..., Any],
    admin: Callable[..., Any],
    auth_environment: dict[str, str],
    site: Site,
    *,
    pool: TimedPool,
) -> None:
    """Good, forged, reused and malformed tokens, failing requests and every key step; then all of it is searched."""
    process = start_process(AUTH_LOG_LEVEL="debug", AUTH_KEY_PUBLISH_SECONDS="0", AUTH_SCHEDULE_SECONDS="0.2")
    password = auth_environment["AUTH_DATABASE_URL"].split(":")[2].split("@")[0]
    secrets = {auth_environment["AUTH_KEY_ENCRYPTION_KEY"], password}
    token = (await asyncio.to_thread(admin, "gateway", "issue-token", site.gateway))["refreshToken"]
    async with aiohttp.ClientSession() as session:
        client = AuthClient(session, process.base_url)
        _, body = await client.refresh(token)
        _, again = await client.refresh(body["refreshToken"])
        secrets |= {token, *body.values(), *again.values()}
        await reuse(pool, client, token)
        for hostile in (token[:-5] + "AAAAA", token + ".x", "x" * 5_000, body["accessToken"]):
            secrets.add(hostile)
            await client.refresh(hostile)
            await client.grant(hostile)
            await client.post_form("/oauth/revoke", {"token": hostile})
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE refresh_token IN ACCESS EXCLUSIVE MODE")
            assert (await client.refresh(again["refreshToken"]))[0] == 503
    kid = (await asyncio.to_thread(admin, "key", "rotate"))["kid"]
    await asyncio.to_thread(admin, "key", "withdraw", kid)
    metrics = process.metrics()
    process.stop()
    log = process.log.read_text()
    audited = json.dumps(await asyncio.to_thread(admin, "audit", "--limit", 1_000))
    assert "token.reused" in log
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())
    for place in (log, metrics, audited):
        found = [secret[:12] for secret in secrets | parts(secrets) if secret in place]
        assert found == []
        assert "PRIVATE KEY" not in place


def parts(secrets: set[str]) -> set[str]:
    """Claims and signatures by themselves too."""
    return {part for secret in secrets for part in secret.split(".")[1:] if len(part) > 20}


async def reuse(pool: TimedPool, client: AuthClient, token: str) -> None:
    """A thief who comes 11 minutes later."""
    await pool.execute("UPDATE refresh_token SET superseded_at = superseded_at - interval '11 minutes'")
    assert (await client.refresh(token))[0] == 401


@pytest.mark.fast
def test_no_repr_shows_a_secret() -> None:
    pair = TokenPair(gateway_id=2, access_seconds=10_800, access="eyJhbGci", refresh="eyJzdWIi")
    settings = StoreSettings(
        database_url=SecretStr("postgresql://auth_service:hunter2@127.0.0.1/auth"), key_encryption_key=MASTER_KEY
    )
    master_key = settings.keyring().newest
    for shown in (repr(pair), str(pair), repr(settings), str(settings), repr(master_key)):
        assert "eyJ" not in shown
        assert "hunter2" not in shown
        assert MASTER_KEY.get_secret_value() not in shown


def test_a_wrong_master_key_stops_the_start_and_is_not_shown(auth_environment: dict[str, str]) -> None:
    wrong = auth_environment | {"AUTH_KEY_ENCRYPTION_KEY": "correct-horse-battery", "AUTH_HTTP_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "metering_auth"], env=wrong, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "AUTH_KEY_ENCRYPTION_KEY" in done.stderr
    assert "AUTH_ADMIN_PORT: is not set" in done.stderr
    assert "correct-horse-battery" not in done.stderr + done.stdout
