"""The conformance kit sees what a client does right and wrong, and the clients of docs/integrators pass it."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

INTEGRATORS = Path(__file__).parents[4] / "docs" / "integrators"


def outcomes(folder: Path, client: str, code: int) -> dict[str, str]:
    """What the kit found of a client, by rule."""
    command = [sys.executable, "-m", "metering_gateway", "conformance", "--folder", str(folder / "kit")]
    done = subprocess.run(
        [*command, "--seconds", "240", "--json", "--run", client], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return {finding["rule"]: finding["outcome"] for finding in json.loads(done.stdout)}


def python(path: Path) -> str:
    return shlex.join([sys.executable, str(path)])


def test_the_reference_client_does_everything_right(tmp_path: Path) -> None:
    found = outcomes(tmp_path, python(INTEGRATORS / "client.py"), 0)
    assert set(found.values()) == {"right"}


CARELESS = """
import csv, json, os, urllib.error, urllib.request
api = os.environ["METERING_API_URL"] + "/api/v1"
def post(path, body, token=""):
    headers = {"content-type": "application/json", "authorization": "Bearer " + token}
    try:
        with urllib.request.urlopen(urllib.request.Request(api + path, json.dumps(body).encode(), headers)) as answer:
            return answer.status, json.load(answer)
    except (OSError, ValueError) as error:
        return getattr(error, "code", 0), {}
issued = json.load(open(os.environ["METERING_TOKEN"]))
access = post("/auth/token/refresh", issued)[1]["accessToken"]
for row in csv.DictReader(open(os.environ["METERING_READINGS"])):
    value = {"sensorName": row["sensor"], "sensorValue": float(row["value"]) + 1}
    measure = {"timestamp": int(row["timestamp"]), "sensorValues": [value]}
    body = [{"deviceNumber": row["device"], "measures": [measure]}]
    if post("/measurements", body, access)[0] == 401:
        access = post("/auth/token/refresh", issued)[1].get("accessToken", access)
"""


def test_a_careless_client_is_found_out(tmp_path: Path) -> None:
    client = tmp_path / "client.py"
    client.write_text(CARELESS)
    found = outcomes(tmp_path, python(client), 1)
    wrong = {rule for rule, outcome in found.items() if outcome == "wrong"}
    assert wrong >= {
        "every reading arrives",
        "values and timestamps arrive unchanged",
        "waits as long as Retry-After of a 429 says",
        "takes an unknown device out and sends the rest at once",
    }


@pytest.mark.toolchains
@pytest.mark.parametrize("language", ["c", "go", "mjs"])
def test_the_one_page_clients_do_everything_right(tmp_path: Path, language: str) -> None:
    source, program = INTEGRATORS / f"client.{language}", tmp_path / "client"
    compilers = {
        "c": ["cc", "-O2", "-Wall", "-Wextra", "-Werror", str(source), "-lcurl", "-o", str(program)],
        "go": ["go", "build", "-o", str(program), str(source)],
        "mjs": ["node", "--check", str(source)],
    }
    subprocess.run(compilers[language], check=True, cwd=tmp_path)
    found = outcomes(tmp_path, shlex.join(["node", str(source)]) if language == "mjs" else str(program), 0)
    assert {rule for rule, outcome in found.items() if outcome != "right"} <= {"asks for server-time"}
