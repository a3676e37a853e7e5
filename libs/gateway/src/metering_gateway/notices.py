"""What the client reports to whoever watches it: each trouble once, and once that it is over."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "trouble",  # no answer that helps; the same is sent again
    "recovered",  # the platform answers again
    "slow-line",  # requests became smaller, because the line did not carry them in time
    "refused",  # one measure is kept as refused
    "unknown-device",  # devices that the platform does not know; kept and tried again
    "warning",  # a finding of the platform's rules
    "clock",  # this gateway's clock is off
    "credentials",  # no token, or one that is no longer accepted
    "waiting",  # another process sends from this state directory
    "stopped",  # sending failed for a reason of this machine, and starts again
    "disk",  # the disk is nearly full
    "dropped",  # the outbox is at its limit, measures were dropped
    "damaged",  # the outbox was damaged: set aside, a new one begun
    "source",  # a source of measures fails, or works again
]


@dataclass(frozen=True, slots=True)
class Notice:
    """`text` is one line for people."""

    kind: Kind
    text: str


Notify = Callable[[Notice], None]

_LOG = logging.getLogger("metering_gateway")
_QUIET = frozenset({"recovered", "clock", "slow-line"})


def log_notice(notice: Notice) -> None:
    """The default: the standard library's logging, logger `metering_gateway`."""
    _LOG.log(logging.INFO if notice.kind in _QUIET else logging.WARNING, "%s: %s", notice.kind, notice.text)
