"""A load balancer before the cluster's Services, as an ingress is: the published paths, nothing sent twice."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metering_local.checkout import PROGRAMS
from metering_local.free_ports import free_port
from metering_local.process import HOST, ServerProcess, is_listening
from metering_local.tether import tethered

CADDYFILE = """\
{{
	admin off
	auto_https off
	persist_config off
}}
http://:{port} {{
	bind {hosts}
	@auth path /api/v1/auth/* /oauth/* /.well-known/*
	handle @auth {{
		reverse_proxy {auth}:80
	}}
	handle {{
		reverse_proxy {ingest_api}:80 {{
			lb_retries 0
			transport http {{
				keepalive 30s
				dial_timeout 2s
			}}
		}}
	}}
}}
"""


@contextmanager
def running(folder: Path, auth: str, ingest_api: str, host: str = HOST) -> Iterator[str]:
    """Its base URL at `host`, an address of this machine; `auth` and `ingest_api` are the Services' addresses."""
    folder.mkdir()
    port = free_port()
    (folder / "Caddyfile").write_text(
        CADDYFILE.format(port=port, auth=auth, ingest_api=ingest_api, hosts=" ".join({HOST, host}))
    )
    command = tethered([str(PROGRAMS / "caddy"), "run", "--config", str(folder / "Caddyfile")], "SIGTERM")
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    server = ServerProcess(command, port, folder / "caddy.log", os.environ | home)
    server.start(lambda: is_listening(port))
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
