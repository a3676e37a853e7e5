"""What the client tells whoever watches it: each trouble once, and once that it is over."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["trouble", "recovered", "refused", "unknown-device", "device-known", "warning", "clock", "credentials"]


@dataclass(frozen=True, slots=True)
class Notice:
    """`text` is one line for people."""

    kind: Kind
    text: str


Notify = Callable[[Notice], None]

_LOG = logging.getLogger("metering_gateway")
_QUIET = frozenset({"recovered", "clock", "device-known"})


def log_notice(notice: Notice) -> None:
    """The default: the standard library's logging, logger `metering_gateway`."""
    _LOG.log(logging.INFO if notice.kind in _QUIET else logging.WARNING, "%s: %s", notice.kind, notice.text)
