"""`.state/local.env`: the shell lines with which people and tools reach the platform that a measure goes through."""

import shlex

from metering_local.process import HOST
from metering_local.programs import (
    admin_urls,
    auth_tool_environment,
    ecl_tool_environment,
    kafka_environment,
    services,
    writer_tool_environment,
)
from metering_local.stack import Stack, write_private

SERVICES = ("auth", "ingest-api", "validator", "writer", "registers", "ecl-poller")


def exports(stack: Stack) -> dict[str, str]:
    """The variables of the file; the storage URL is the read-only role's."""
    programs = services(stack)
    return {
        "METERING_API_URL": stack.api_url,
        "METERING_KAFKA": f"{HOST}:{stack.ports.kafka}",
        "METERING_DATABASE_URL": stack.dsn("storage_reader", "storage"),
        **{
            f"METERING_{service.upper().replace('-', '_')}_ADMIN_URL": ",".join(admin_urls(programs, service))
            for service in SERVICES
        },
        **kafka_environment(stack),
        **auth_tool_environment(stack),
        **writer_tool_environment(stack),
        **ecl_tool_environment(stack),
    }


def write_local_env(stack: Stack) -> None:
    """Write the file, mode 600."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in exports(stack).items()]
    write_private(stack.local_env, "# Written by `make up`; read it with `. .state/local.env`.\n" + "".join(lines))
