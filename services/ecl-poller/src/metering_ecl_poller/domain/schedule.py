"""When a controller is asked: hourly, shortly after the portal's own collection, spread evenly and always the same."""

import hashlib

from metering_common.service.backoff import Backoff

HOUR_MS = 3_600_000
AFTER_THE_HOUR_MS = 10 * 60_000  # the portal collects just after the hour (guide, section 5)
SPREAD_MS = 10 * 60_000  # controllers are asked between ten and twenty past
SOON_MS = 60_000
RETRY = Backoff(first_seconds=60, longest_seconds=15 * 60)


def jitter_ms(serial: str) -> int:
    """A controller's own place within the spread: a hash of its serial, so that it never moves."""
    return int.from_bytes(hashlib.blake2b(serial.encode(), digest_size=8).digest()) % SPREAD_MS


def next_due_ms(serial: str, now_ms: int) -> int:
    """The first of the controller's hourly moments that lies after now."""
    moment = now_ms // HOUR_MS * HOUR_MS + AFTER_THE_HOUR_MS + jitter_ms(serial)
    while moment > now_ms + HOUR_MS:
        moment -= HOUR_MS
    return moment if moment > now_ms else moment + HOUR_MS


def soon_due_ms(serial: str, now_ms: int) -> int:
    """Within a minute, for a controller that a person has just added, mapped or enabled; many at once are spread."""
    return now_ms + jitter_ms(serial) * SOON_MS // SPREAD_MS


def retry_due_ms(serial: str, now_ms: int, attempts: int, asked_retry_ms: int = 0) -> int:
    """After the n-th failure in a row: 1, 2, 4, 8, 15 minutes, each up to half longer by the controller's jitter.

    Never before the portal's own Retry-After has passed; not later than the next hourly moment unless it has to be.
    """
    delay = round(RETRY.pause_seconds(attempts - 1) * 1_000)
    spread = delay * jitter_ms(serial) // (2 * SPREAD_MS)
    soonest = now_ms + asked_retry_ms
    return max(soonest, min(now_ms + delay + spread, next_due_ms(serial, now_ms)))
