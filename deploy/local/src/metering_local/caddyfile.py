"""The load balancer's configuration: one address before auth and two ingest-api replicas, for many small requests.

python -m metering_local.caddyfile > deploy/docker/Caddyfile     # that of docker-compose.yml
"""

from metering_local.process import HOST
from metering_local.stack import SECOND_HOST, Stack

TEMPLATE = """\
# Written by {writer}; changes here are lost.
{{
	admin off
	auto_https off
	persist_config off
	servers {{
		max_header_size 16KB
		timeouts {{
			read_header 10s
			read_body 60s
			idle 5m
		}}
	}}
	log default {{
		output stderr
		level WARN
	}}
}}
{sites}
{address} {{
	bind {bind}
	@auth path /api/v1/auth/* /oauth/* /.well-known/*
	handle @auth {{
		reverse_proxy {auth}
	}}
	handle {{
		reverse_proxy {ingest_apis} {{
			lb_policy round_robin
			# A request that reached no replica is tried once more; one that did is never repeated from here.
			lb_retries 1
			lb_try_duration 3s
			fail_duration 2s
			# One replica's clients are not told about the other's drain: /readyz turns 503 first.
			health_uri /readyz
			health_port {admin}
			health_interval 500ms
			health_timeout 2s
			transport http {{
				# Shorter than aiohttp's own 75 s, and enough idle connections for 256 clients.
				keepalive 60s
				keepalive_idle_conns 2048
				keepalive_idle_conns_per_host 1024
				compression off
				dial_timeout 2s
			}}
		}}
	}}
}}
"""


CONTAINER_SITES = """
# For the container's own health check and for Prometheus.
http://:9090 {
	respond /healthz 200
	metrics /metrics
}
"""


def caddyfile(stack: Stack) -> str:
    ports = stack.ports
    return TEMPLATE.format(
        writer="metering-local up",
        sites="",
        address=f"http://{HOST}:{ports.api}",
        bind=HOST,
        auth=f"{HOST}:{ports.auth_http}",
        ingest_apis=f"{HOST}:{ports.ingest_http} {SECOND_HOST}:{ports.ingest_http}",
        admin=ports.ingest_admin,
    )


def compose_caddyfile() -> str:
    """Where every container has the same ports."""
    return TEMPLATE.format(
        writer="python -m metering_local.caddyfile",
        sites=CONTAINER_SITES,
        address="http://:8080",
        bind="0.0.0.0",  # noqa: S104  of its container
        auth="auth:8080",
        ingest_apis="ingest-api-1:8080 ingest-api-2:8080",
        admin=9090,
    )


if __name__ == "__main__":
    print(compose_caddyfile(), end="")  # noqa: T201  it is what the command is for
