"""Removes the codes from an answer before it is kept or shown: their values, however JSON spells them."""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from html.entities import html5
from urllib.parse import quote

from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.dialect import Dialect, names_of

REDACTED = "[redacted]"
_STRING = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")(?P<key>\s*:)?', re.DOTALL)

_ENTITIES: dict[str, list[str]] = {}
"""Names of HTML entities by their character."""
for _name, _text in html5.items():
    if _name.endswith(";"):
        _ENTITIES.setdefault(_text, []).append(_name)
_BEGINNING = r"(?:(?<![0-9A-Za-z])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4}))"
"""Of a word: what stands before is no letter, or the end of an escape."""


def without_secrets(body: bytes, account: PortalAccount, dialect: Dialect) -> bytes:
    """Returns the body with both codes redacted: in any case, escaped, percent-encoded or as an HTML entity.

    Names of fields that the dialect knows stay. A code of digits only is redacted as a whole string, and as the value
    of its own field: within a text it may be part of a time stamp or a value, and the data must stay as it came.
    """
    names = dialect.request
    secrets = {
        names.server_code: account.server_code.get_secret_value(),
        names.access_code: account.access_code.get_secret_value(),
    }
    text = body.decode("utf-8", "surrogateescape")
    if not _may_hold(text, secrets.values()):
        return body
    codes = [_pattern(code) for code in secrets.values()]
    if _is_json(text):
        text = _in_strings(text, codes, names_of(dialect))
    else:
        text = _redacted(text, [_anywhere(code) for code in secrets.values()])
    for name, code in secrets.items():
        if code.isdecimal():
            own = rf'("{re.escape(name)}"\s*:\s*){re.escape(code)}(?![0-9.])'
            text = re.sub(own, rf'\1"{REDACTED}"', text, flags=re.IGNORECASE)
    return text.encode("utf-8", "surrogateescape")


def _may_hold(text: str, codes: Iterable[str]) -> bool:
    """Whether a code may stand in the text: at once for a text without any escape, as nearly all answers are."""
    if any(mark in text for mark in "\\%&+"):
        return True
    folded = text.casefold()
    return any(code.casefold() in folded for code in codes)


def _is_json(text: str) -> bool:
    try:
        json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return False
    return True


def _in_strings(text: str, codes: list[re.Pattern[str]], fields: frozenset[str]) -> str:
    """Redacts the strings; one without a code stays byte by byte as it came."""

    def value(found: re.Match[str]) -> str:
        plain = str(json.loads(found["string"], strict=False))
        if found["key"] and plain.casefold() in fields:
            return found[0]
        redacted = _redacted(plain, codes)
        return found[0] if redacted == plain else json.dumps(redacted) + (found["key"] or "")

    return _STRING.sub(value, text)


def _redacted(text: str, codes: list[re.Pattern[str]]) -> str:
    for code in codes:
        text = code.sub(REDACTED, text)
    return text


@lru_cache(maxsize=1_024)
def _pattern(code: str) -> re.Pattern[str]:
    """Matches the code as a word of a decoded text, each character plain, percent-encoded or as an entity."""
    if code.isdecimal():
        return re.compile(rf"^{code}$")
    word = "".join(_spellings(one) for one in code)
    return re.compile(rf"{_BEGINNING}{word}(?![0-9A-Za-z])", re.IGNORECASE)


@lru_cache(maxsize=1_024)
def _anywhere(code: str) -> re.Pattern[str]:
    """The same in a text that is not JSON, or only the beginning of it: escaped there too."""
    if code.isdecimal():
        return re.compile(rf'(?<=["=/]){code}(?![0-9])')
    word = "".join(_spellings(one, escaped=True) for one in code)
    return re.compile(rf"{_BEGINNING}{word}(?![0-9A-Za-z])", re.IGNORECASE)


def _spellings(one: str, *, escaped: bool = False) -> str:
    """A pattern of all spellings of one character."""
    encoded = "".join(f"%{byte:02x}" for byte in one.encode())
    found = {re.escape(one), encoded, re.escape(quote(one)), rf"&#0*{ord(one)};", rf"&#x0*{ord(one):x};"}
    found |= {re.escape(f"&{name}") for name in _ENTITIES.get(one, ())}
    if escaped:
        units = one.encode("utf-16-be").hex()
        found.add("".join(rf"\\u{units[place : place + 4]}" for place in range(0, len(units), 4)))
        found.add(rf"\\{re.escape(one)}")
    if one == " ":
        found.add(r"\+")
    return f"(?:{'|'.join(sorted(found, key=len, reverse=True))})"
