"""Who acts, and from where: what the audit names."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """Who acts, and from where (a host for commands, an address for requests)."""

    name: str
    origin: str
