"""What every API reads from request headers: the request id, and whether JSON is accepted."""

import random
import re
from collections.abc import Mapping

OFFERED = frozenset({"application/json", "application/problem+json", "application/*", "*/*"})

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
_ZERO_WEIGHT = re.compile(r"q\s*=\s*0(\.0{0,3})?", re.IGNORECASE)


def request_id(headers: Mapping[str, str]) -> str:
    """Returns the caller's `X-Request-Id` if it may stand in a log as it is, else a new one."""
    text = headers.get("X-Request-Id")
    return text if text is not None and _REQUEST_ID.fullmatch(text) else f"{random.getrandbits(128):032x}"


def accepts_json(accept: str | None) -> bool:
    """Whether JSON is among what `Accept` takes; an absent or empty one takes anything."""
    if accept is None or accept in OFFERED or not accept.strip():
        return True
    refused: set[str] = set()
    taken: set[str] = set()
    for media_range in accept.lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        (refused if any(map(_ZERO_WEIGHT.fullmatch, parameters)) else taken).add(name)
    if "application/json" in refused:
        return False
    return bool(taken & OFFERED)
