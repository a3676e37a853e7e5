"""The batch id that ingest-api gives to a request and that every later step carries (UUIDv7, RFC 9562 section 5.7)."""

import random
from collections.abc import Callable
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62
_RANDOM_A = (1 << 12) - 1
_RANDOM_B = (1 << 62) - 1


def new_batch_id(now_ms: int, randomness: Callable[[int], bytes] = random.randbytes) -> UUID:
    """48 bits of Unix milliseconds, then 74 random bits; `randomness(n)` gives n bytes.

    It is to be unique, not secret: a batch is told to its own provider only. So no system call for each.
    """
    chance = int.from_bytes(randomness(10))
    time_bits = (now_ms & ((1 << 48) - 1)) << 80
    return UUID(int=time_bits | _VERSION_7 | (chance >> 62 & _RANDOM_A) << 64 | _VARIANT | chance & _RANDOM_B)


def batch_time_ms(batch_id: UUID) -> int:
    """The Unix milliseconds at which the id was made; meaningful for version 7 only."""
    return batch_id.int >> 80
