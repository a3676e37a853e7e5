"""Brings the local platform down in the order in which measures leave it: ingest-api first, servers last."""

import shutil

from metering_local import supervisor
from metering_local.programs import services
from metering_local.stack import Stack


def bring_down(stack: Stack) -> None:
    """End every process, services before the servers they drain into; harmless when nothing runs."""
    if supervisor.is_running(stack):
        names = [program.name for program in services(stack)]
        supervisor.stop_programs(stack, names)
    supervisor.leave(stack)
    supervisor.end_leftovers(stack)
    shutil.rmtree(stack.control, ignore_errors=True)
