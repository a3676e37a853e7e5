"""What an answer of the platform means for the measures that were sent: the client's rules in one place."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

NO_ANSWER = 0  # as a status: the connection broke, or nothing came in time
LONGEST_RETRY_AFTER_SECONDS = 3_600.0  # a proxy's mistake must not silence a gateway for a year
AT_FAULT = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})
_ELEMENT = re.compile(r"/(\d{1,6})(/.*)?")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `status` 0 means that nothing did, and `text` then says why. Header names are lower case.

    `seconds`: how long the call took. `timed_out`: it was given up while the line was still carrying it.
    """

    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    timed_out: bool = False

    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is none (a proxy's page, a broken answer)."""
        try:
            document = json.loads(self.text)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def summary(self) -> str:
        """One line for people: the status and what the problem document says."""
        if self.status == NO_ANSWER:
            return f"no answer: {self.text}"
        document = self.document()
        said = document.get("detail") or document.get("title") or " ".join(self.text.split())[:200]
        code = document.get("code")
        return f"{self.status}{f' {code}' if code else ''}: {said}"


@dataclass(frozen=True, slots=True)
class Delivered:
    """201: the platform has them; they may be deleted here."""


@dataclass(frozen=True, slots=True)
class Halve:
    """One of several measures is at fault: send the halves by themselves."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The one measure that is left is at fault: keep it with the answer and go on without it."""


@dataclass(frozen=True, slots=True)
class TakeOut:
    """The platform does not know these devices: keep theirs for later, send the rest at once."""

    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Smaller:
    """The line did not carry the request in time: send fewer measures at once."""


@dataclass(frozen=True, slots=True)
class Renew:
    """The access token is not taken: refresh and send again."""


@dataclass(frozen=True, slots=True)
class Later:
    """It may be in or not: send the same again, after `retry_after` seconds at the earliest if that was said."""

    retry_after: float | None


Decision = Delivered | Halve | Refuse | TakeOut | Smaller | Renew | Later


def decide(answer: Answer, measure_count: int, devices: Sequence[str]) -> Decision:
    """`devices` are those of the request's elements, in order.

    Only 400, 413 and 422 are about a measure. Everything else that is no 201 (a redirect, 404, a captive portal's 200)
    says nothing about the measures, so they are kept and sent again.
    """
    if answer.status == HTTPStatus.CREATED:
        return Delivered()
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return Renew()
    if answer.status in AT_FAULT:
        unknown = unknown_devices(answer, devices)
        if unknown:
            return TakeOut(unknown)
        return Halve() if measure_count > 1 else Refuse()
    if too_slow(answer) and measure_count > 1:
        return Smaller()
    return Later(retry_after_seconds(answer.headers))


def too_slow(answer: Answer) -> bool:
    """Whether the line was too slow for the request: the client's time ran out while it was sent or awaited, or the
    server's did (408).
    """
    return answer.timed_out or answer.status == HTTPStatus.REQUEST_TIMEOUT


def unknown_devices(answer: Answer, devices: Sequence[str]) -> tuple[str, ...]:
    """The devices that a 422 with code `devices_unknown` names, by number or by pointer (`/0`, `/2/deviceNumber`)."""
    document = answer.document()
    if answer.status != HTTPStatus.UNPROCESSABLE_ENTITY or document.get("code") != "devices_unknown":
        return ()
    pointers = [error.get("pointer") for error in _list(document, "errors") if isinstance(error, dict)]
    found = {device for pointer in pointers if (device := _pointed(pointer, devices)) is not None}
    found |= {number for number in _list(document, "deviceNumbers") if isinstance(number, str)} & set(devices)
    if not found and len(devices) == 1:
        return (devices[0],)
    return tuple(device for device in devices if device in found)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` (RFC 9110: seconds or a date, the date against the answer's own `Date`), capped at an hour."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), LONGEST_RETRY_AFTER_SECONDS)
    until, now = _http_date(value), _http_date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    return found if isinstance(found, list) else []


def _pointed(pointer: object, devices: Sequence[str]) -> str | None:
    match = _ELEMENT.fullmatch(pointer) if isinstance(pointer, str) else None
    index = int(match.group(1)) if match else len(devices)
    return devices[index] if index < len(devices) else None


def _http_date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
