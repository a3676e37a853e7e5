"""metering-admin as a person meets it: nothing is cut, and what went wrong says what to change."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from auth_support import AuthClient

from metering_auth.cli import main


class Site(NamedTuple):
    provider: int
    gateway: int


@pytest.fixture
def told(auth_environment: dict[str, str]) -> Callable[..., tuple[int, str]]:
    """Status and all that was printed, without --json."""

    def run(*arguments: object, **environment: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "metering_auth.cli", *map(str, arguments)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=auth_environment | environment, timeout=120
        )
        return done.returncode, done.stdout + done.stderr

    return run


async def test_lists_are_lines_and_nothing_of_them_is_cut(
    told: Callable[..., tuple[int, str]], admin: Callable[..., Any], auth: AuthClient, site: Site
) -> None:
    assert auth.base_url  # it has made the first key
    kid = admin("key", "rotate")["kid"]
    _, keys = told("key", "list")
    assert any(line.split()[:2] == [kid, "published"] for line in keys.splitlines())
    device = admin("device", "add", "--provider", site.provider, "--number", "29 of " + "a" * 150)["id"]
    _, devices = told("device", "list")
    assert "a" * 150 in devices
    admin("device", "set", device, "--zone", "UTC")
    _, audited = told("audit", "--subject", f"device:{device}")
    assert audited.splitlines()[-1].rstrip().endswith("zone: America/Santiago → UTC")


@pytest.fixture
def meter(admin: Callable[..., Any], site: Site) -> int:
    """A device with one register and one other sensor."""
    for name, kind in (("Energía", "accumulating"), ("Corriente", "instantaneous")):
        admin("sensor", "add", "--name", name, "--unit", "x", "--kind", kind)
    return int(admin("device", "add", "--provider", site.provider, "--number", "29")["id"])


def test_exchanges_are_noted_listed_and_taken_back(admin: Callable[..., Any], meter: int) -> None:
    at = ("--sensor", "Energía", "--at", "2026-03-11T15:00:00-03:00")
    noted = admin("device", "exchange", "add", meter, *at, "--closing", "801", "--opening", "12345")
    assert noted["exchanges"] == [{"sensor": 1, "at": 1_773_252_000, "closing": 801.0, "opening": 12345.0}]
    shown = {"sensor": "Energía", "at": "2026-03-11T18:00:00+00:00", "closing": 801.0, "opening": 12345.0}
    assert admin("device", "exchange", "list", meter) == [shown]
    assert admin("device", "exchange", "remove", meter, *at)["exchanges"] == []
    assert [event["action"] for event in admin("audit", "--subject", f"device:{meter}")][1:] == ["device.changed"] * 2


def test_an_exchange_that_cannot_be_says_why(told: Callable[..., tuple[int, str]], meter: int) -> None:
    add = ("device", "exchange", "add", meter, "--at", "2026-03-11T15:00:00Z", "--sensor")
    assert told(*add, "Energía")[0] == 0
    for command, words in (
        ((*add, "Energía"), "exchanged twice at the same time"),
        ((*add, "Corriente"), "only registers have exchanges"),
        ((*add, "Nadie"), "is not in the dictionary"),
        (("device", "exchange", "remove", meter, "--at", "2026-03-12T00:00Z", "--sensor", "Energía"), "no exchange of"),
        (("device", "exchange", "list", 77), "device 77 is not registered"),
    ):
        status, text = told(*command)
        assert (status, words in text) == (1, True), text


def test_a_device_has_maximum_rates_of_its_own(admin: Callable[..., Any], meter: int) -> None:
    assert admin("device", "set", meter, "--maximum-rate", "Energía=12.5")["maximumRates"] == {"1": 12.5}
    assert admin("device", "set", meter, "--zone", "UTC")["maximumRates"] == {"1": 12.5}
    assert admin("device", "set", meter, "--maximum-rate", "Energía=")["maximumRates"] is None


async def test_what_is_wrong_is_told_in_a_sentence(
    told: Callable[..., tuple[int, str]], auth: AuthClient, site: Site
) -> None:
    assert auth.base_url  # it has made the first key
    assert told("gateway", "revoke", 77) == (1, "metering-admin: gateway 77 is not registered\n")
    status, refused = told("device", "set", 1)
    assert (status, refused) == (
        1,
        "metering-admin: nothing to change: give --zone, --interval-seconds or --maximum-rate\n",
    )
    status, refused = told("provider", "list", AUTH_DATABASE_URL="postgresql://nobody:hunter2@127.0.0.1:1/auth")
    assert status == 1
    assert refused.startswith("metering-admin: the database of auth cannot be used: ")
    assert "hunter2" not in refused
    status, refused = told("key", "rotate", AUTH_KEY_ENCRYPTION_KEY="")
    assert status == 2
    assert "AUTH_KEY_ENCRYPTION_KEY: is not set" in refused
    status, refused = told("gateway", "issue-token", site.gateway, AUTH_KEY_ENCRYPTION_KEY="B" * 43)
    assert status == 1
    assert refused.startswith("metering-admin: sealed under master key ")
    assert refused.endswith("is AUTH_KEY_ENCRYPTION_KEY the one that auth runs with?\n")


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["gateway", "revoke", "abc"], "is no id"),
        (["gateway", "revoke", "99999999999"], "is no id"),
        (["gateway", "revoke", "0"], "is no id"),
        (["audit", "--limit", "0"], "is no whole number"),
        (["audit", "--since", "yesterday"], "is no time with its zone"),
        (["restore", "open", "--backup-at", "2026-03-11T15:00:00"], "is no time with its zone"),
        (["device", "exchange", "add", "1", "--sensor", "EACTIVE", "--at", "2026-03-11"], "is no time with its zone"),
        (["device", "set", "1", "--maximum-rate", "EACTIVE"], "SENSOR=RATE"),
        (["sensor", "add", "--name", "x", "--unit", "y", "--kind", "wrong"], "instantaneous"),
    ],
)
def test_wrong_arguments_are_told(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
