"""An answer of the portal as it came, and the request for one page of readings."""

from typing import NamedTuple

import msgspec

from metering_ecl_poller.domain.portal.errors import Call


class PortalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, whole and verbatim but for the codes, before anything is made of it."""

    serial: str
    call: Call
    device: str | None
    read_id: str | None
    """Shared by the pages of one read."""
    http_status: int
    body: bytes
    received_at_ms: int
    client_request_id: str
    server_request_id: str | None


class PageRequest(NamedTuple):
    """Which page of which readings: `from_ms` inclusive, in the direction of time unless `backward`.

    `number` is the page's number or its offset, as the dialect pages.
    """

    device: str
    from_ms: int
    number: int
    read_id: str
    backward: bool = False
    size: int | None = None
    until_ms: int | None = None
    channels: tuple[str, ...] = ()
    """Sent where the dialect asks for channels by name."""


class ArchivedAnswer(msgspec.Struct, frozen=True):
    """An answer, and the version of the mapping that was applied to it when it came (0: none)."""

    answer: PortalAnswer
    mapping_version: int
