"""Ports for servers of tests and benches, each given out once, whoever else is choosing at the same time."""

import socket
from random import SystemRandom

from metering_local.process import HOST

PORTS = range(10_240, 18_000)  # below what Linux gives to outgoing connections, and below the stack's own default


def free_port() -> int:
    """A port that nobody listens on, and that nobody else is given while this process lives."""
    choice = SystemRandom()
    while not take(port := choice.choice(PORTS)):
        pass
    return port


def take(port: int) -> bool:
    """Have it for the life of this process, unless somebody has: bound and never closed, and a server may listen on it.

    Linux refuses it to whoever asks without SO_REUSEADDR, as is done here, and shares it with a server that asks with
    the option, as all that we start do, since the holder has set it too by then and does not listen.
    """
    held = socket.socket()
    try:
        held.bind((HOST, port))
    except OSError:
        held.close()
        return False
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.detach()
    return True
