"""Does with what is provisioned what Grafana does before anyone sees a measure, and answers like Grafana's API.

It expands the data sources from its environment, logs in to each when asked for its health, reads every dashboard of
the providers, and writes into its volume.
"""

import base64
import http.server
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PROVISIONING = Path("/etc/grafana/provisioning")
VOLUME = Path("/var/lib/grafana")
ADMIN = "Basic " + base64.b64encode(f"admin:{os.environ['GF_SECURITY_ADMIN_PASSWORD']}".encode()).decode()


def provisioned(folder: str, key: str) -> Iterator[dict[str, Any]]:
    """The entries of every file in one of the folders, with the environment's values in them."""
    for file in PROVISIONING.glob(f"{folder}/*.yaml"):
        yield from yaml.safe_load(os.path.expandvars(file.read_text()))[key]


def sources() -> dict[str, dict[str, Any]]:
    return {source["uid"]: source for source in provisioned("datasources", "datasources")}


def dashboards() -> list[dict[str, Any]]:
    folders = [Path(provider["options"]["path"]) for provider in provisioned("dashboards", "providers")]
    return [json.loads(file.read_text()) for folder in folders for file in sorted(folder.glob("*.json"))]


def reach(source: dict[str, Any]) -> dict[str, str]:
    """OSError or SubprocessError unless the data source answers a question."""
    if source["type"] == "prometheus":
        urllib.request.urlopen(source["url"] + "/api/v1/query?query=1", timeout=5).close()
        return {"status": "OK"}
    host, port = source["url"].split(":")
    settings = {"PGHOST": host, "PGPORT": port, "PGUSER": source["user"], "PGDATABASE": source["jsonData"]["database"]}
    secret = {"PGPASSWORD": source["secureJsonData"]["password"], "PGSSLMODE": source["jsonData"]["sslmode"]}
    command = ["psql", "-X", "-c", "SELECT FROM measurement_named LIMIT 1"]
    subprocess.run(command, env=os.environ | settings | secret, check=True, capture_output=True, timeout=10)
    return {"status": "OK"}


def answer(path: str) -> Any:
    """KeyError for what there is not."""
    if path == "/api/datasources":
        return [{"uid": uid} for uid in sources()]
    if path == "/api/search?type=dash-db":
        return [{"uid": dashboard["uid"]} for dashboard in dashboards()]
    return reach(sources()[path.removeprefix("/api/datasources/uid/").removesuffix("/health")])


class Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/api/health":
            self.say(200, {"database": "ok"})
        elif self.headers["authorization"] != ADMIN:
            self.say(401, {"message": "Unauthorized"})
        else:
            try:
                self.say(200, answer(self.path))
            except KeyError as error:
                self.say(404, {"message": str(error)})
            except (OSError, subprocess.SubprocessError) as error:
                self.say(400, {"status": "ERROR", "message": repr(error)})

    def say(self, status: int, content: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


(VOLUME / "started").touch()
http.server.ThreadingHTTPServer(("", 3000), Api).serve_forever()
