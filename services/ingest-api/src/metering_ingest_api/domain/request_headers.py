"""What ingest-api alone reads from request headers: preferences, trace, the body's media type."""

import re
from collections.abc import Iterable

MAX_WAIT_SECONDS = 10

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]*)?")
_WAIT = re.compile(r'wait\s*=\s*(?:"(\d{1,9})"|(\d{1,9}))', re.IGNORECASE)


def traceparent(text: str | None) -> str | None:
    """The W3C trace context's `traceparent`, without what a later version may have appended; None if malformed."""
    if text is None or (match := _TRACEPARENT.fullmatch(text.strip())) is None:
        return None
    version_00 = text.strip()[:55]
    return None if text.strip().startswith("00-") and match.group(1) else version_00


def wait_seconds(preferences: Iterable[str]) -> int | None:
    """`Prefer: wait=N` (RFC 7240), at most 10; the first one counts, others are ignored."""
    for preference in ",".join(preferences).split(","):
        if match := _WAIT.fullmatch(preference.split(";")[0].strip()):
            return min(int(match.group(1) or match.group(2)), MAX_WAIT_SECONDS)
    return None


def is_json(content_type: str | None) -> bool:
    """Whether a body of this type is taken: JSON in UTF-8; the published examples send none, which is taken too."""
    if content_type is None or content_type == "application/json":
        return True
    name, *parameters = (part.strip() for part in content_type.lower().split(";"))
    charsets = [parameter for parameter in parameters if parameter.startswith("charset")]
    return name == "application/json" and all(_is_utf_8(charset) for charset in charsets)


def _is_utf_8(parameter: str) -> bool:
    return parameter.partition("=")[2].strip(' "') in ("utf-8", "utf8", "us-ascii")
