"""A signing key's way: published, active, retiring, retired, or withdrawn; what the schedule demands at an instant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from metering_common.contract.tokens import LEEWAY_SECONDS
from metering_common.registry.documents import KeyState

IN_FLIGHT = timedelta(seconds=60)  # a token may still be on its way when its key begins to retire
PRIVATE_PART_KEPT = timedelta(minutes=10)  # a retiring key signs the repeated successors of the last 60 s again


@dataclass(frozen=True)
class KeyTimes:
    """How long a key stays in each state."""

    publish: timedelta
    """Between being seen on the registry topic and its first signature."""
    active: timedelta
    access_lifetime: timedelta
    refresh_lifetime: timedelta

    def accept_until(self, retiring_at: datetime) -> int:
        """Unix seconds until which ingest-api trusts what the key has signed."""
        return int((retiring_at + self.access_lifetime + IN_FLIGHT).timestamp()) + LEEWAY_SECONDS


@dataclass(frozen=True)
class KeyStanding:
    """One key as the schedule sees it."""

    kid: str
    state: KeyState
    announced_at: datetime | None
    active_at: datetime | None
    retiring_at: datetime | None
    """When it began to retire or was withdrawn."""
    has_private_part: bool


@dataclass(frozen=True)
class Publish:
    """A new key is to be made and published."""


@dataclass(frozen=True)
class Activate:
    """The key signs from now on; the one before retires."""

    kid: str


@dataclass(frozen=True)
class Retire:
    """No refresh token that it signed is alive: the key ends, its document becomes a tombstone."""

    kid: str


@dataclass(frozen=True)
class ForgetPrivatePart:
    """It will not sign again."""

    kid: str


KeyStep = Publish | Activate | Retire | ForgetPrivatePart


def due_steps(keys: Sequence[KeyStanding], times: KeyTimes, now: datetime) -> list[KeyStep]:
    """What the schedule demands now, in order; nothing while the active key is young and no other waits."""
    published = [key for key in keys if key.state is KeyState.PUBLISHED]
    active = next((key for key in keys if key.state is KeyState.ACTIVE), None)
    steps: list[KeyStep] = []
    ready = [key for key in published if _past(key.announced_at, times.publish, now)]
    if ready:
        steps.append(Activate(ready[0].kid))
    elif not published and active is not None and _past(active.active_at, times.active, now):
        steps.append(Publish())
    return steps + _endings(keys, times, now)


def _endings(keys: Sequence[KeyStanding], times: KeyTimes, now: datetime) -> list[KeyStep]:
    ending = [key for key in keys if key.state in (KeyState.RETIRING, KeyState.WITHDRAWN)]
    kept = times.refresh_lifetime + IN_FLIGHT
    ended: list[KeyStep] = [Retire(key.kid) for key in ending if _past(key.retiring_at, kept, now)]
    silent: list[KeyStep] = [
        ForgetPrivatePart(key.kid)
        for key in ending
        if key.has_private_part and _past(key.retiring_at, PRIVATE_PART_KEPT, now)
    ]
    return silent + ended


def _past(since: datetime | None, span: timedelta, now: datetime) -> bool:
    return since is not None and now - since >= span
