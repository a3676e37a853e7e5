"""The load balancer's configuration: one address before auth and two doors, tuned for many small requests."""

from metering_local.process import HOST
from metering_local.stack import SECOND_HOST, Stack

TEMPLATE = """\
# Written by metering-local up; changes here are lost.
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

http://{host}:{api} {{
	bind {host}
	@auth path /api/v1/auth/* /oauth/* /.well-known/*
	handle @auth {{
		reverse_proxy {host}:{auth}
	}}
	handle {{
		reverse_proxy {host}:{ingest} {second}:{ingest} {{
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


def caddyfile(stack: Stack) -> str:
    ports = stack.ports
    return TEMPLATE.format(
        host=HOST,
        second=SECOND_HOST,
        api=ports.api,
        auth=ports.auth_http,
        ingest=ports.ingest_http,
        admin=ports.ingest_admin,
    )
