"""How names and numbers are written before they are kept: what looks the same is the same."""

import unicodedata

from metering_common.contract.limits import DAY_SECONDS

MAX_CHARACTERS = 200
LONGEST_INTERVAL = 366 * DAY_SECONDS
_FORBIDDEN = {"Cc": "a control character", "Cs": "a lone surrogate", "Zl": "a line break", "Zp": "a line break"}


class InvalidEntryError(ValueError):
    """What was given cannot stand in the registry; the message says what to change."""


class NotRegisteredError(InvalidEntryError):
    """No such entry in the registry."""


def checked_interval(seconds: int) -> int:
    """Raises `InvalidEntryError`."""
    if not 0 < seconds <= LONGEST_INTERVAL:
        raise InvalidEntryError(f"an interval of {seconds} s is not between 1 s and a year")
    return seconds


def normalised(text: str, what: str) -> str:
    """NFC and trimmed; refuses empty text, control characters and lone surrogates. `what` names it in the message."""
    plain = unicodedata.normalize("NFC", text).strip()
    if not plain:
        raise InvalidEntryError(f"{what} is empty")
    if len(plain) > MAX_CHARACTERS:
        raise InvalidEntryError(f"{what} has {len(plain)} characters, {MAX_CHARACTERS} are allowed")
    for character in plain:
        if (fault := _FORBIDDEN.get(unicodedata.category(character))) is not None:
            raise InvalidEntryError(f"{what} contains {fault} (U+{ord(character):04X})")
    return plain
