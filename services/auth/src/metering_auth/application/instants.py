"""Whose clock decides about tokens and keys: the database's, one for all replicas; tests bring a controlled one."""

from collections.abc import Callable
from datetime import datetime

Instants = Callable[[], datetime | None]
"""None: the database's clock, read inside the statement."""


def database_clock() -> None:
    """The one clock in production."""
    return
