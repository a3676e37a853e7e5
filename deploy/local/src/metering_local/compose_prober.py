"""Enrols the prober of docker-compose.yml, which sends measures through the public API like any gateway.

By the tools inside the containers, once: the token lies in the prober's volume from then on.
"""

import json
import subprocess
from typing import Any

from metering_local.checkout import ROOT
from metering_local.errors import EnvironmentProblemError

TOKEN = "/var/lib/metering/issued.json"  # noqa: S105  a file's name; PROBER_TOKEN_FILE
INTERVAL_SECONDS = "30"
WRITE = "import os, sys; os.umask(0o077); open(sys.argv[1], 'w').write(sys.stdin.read())"


def enrol_prober(compose: list[str]) -> None:
    """Harmless where it is enrolled already. EnvironmentProblemError if a tool refuses."""
    there = [*compose, "exec", "-T", "prober", "test", "-s", TOKEN]
    if subprocess.run(there, cwd=ROOT, capture_output=True, check=False).returncode == 0:  # noqa: S603  ours
        return
    provider = _admin(compose, "provider", "add", "Prober")["id"]
    gateway = _admin(compose, "gateway", "add", "--provider", str(provider), "prober")["id"]
    terms = ["--number", "prober", "--interval-seconds", INTERVAL_SECONDS]
    _admin(compose, "device", "add", "--provider", str(provider), *terms)
    token = _admin(compose, "gateway", "issue-token", str(gateway))
    _run([*compose, "exec", "-T", "prober", "python", "-c", WRITE, TOKEN], json.dumps(token))


def _admin(compose: list[str], *arguments: str) -> dict[str, Any]:
    return dict(
        json.loads(_run([*compose, "exec", "-T", "auth", "metering-admin", *arguments, "--as", "compose", "--json"]))
    )


def _run(command: list[str], text: str = "") -> str:
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)  # noqa: S603  ours
    if done.returncode != 0:
        raise EnvironmentProblemError(f"the prober could not be enrolled: {done.stderr.strip()}")
    return done.stdout
