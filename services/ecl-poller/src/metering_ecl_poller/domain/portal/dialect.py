"""The dialect: every name and number of the portal's API that the poller assumes, as one typed table."""

from typing import Any

import msgspec

Names = tuple[str, ...]
"""Alternative spellings, the preferred one first."""


class DialectError(Exception):
    """The dialect file cannot be read, or names something that the table does not have."""


class DialectSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of the file; a key that no code reads is refused, so that a mistyped one cannot do nothing."""


class PortalHosts(DialectSection, frozen=True, kw_only=True):
    dk: str
    com: str


class PathTemplates(DialectSection, frozen=True, kw_only=True):
    master_data: str
    readings: str


class RequestNames(DialectSection, frozen=True, kw_only=True):
    server_code: str
    serial: str
    access_code: str
    client_request_id: str
    from_: str = msgspec.field(name="from")
    device: str
    direction: str
    forward: str
    backward: str
    page_size: str
    page_number: str
    first_page: int
    wanted_page_size: int
    page_cap: int


class StatusNames(DialectSection, frozen=True, kw_only=True):
    code: Names
    message: Names
    success: Names
    denied: Names
    busy: Names


class TraceNames(DialectSection, frozen=True, kw_only=True):
    client_request_id: Names
    server_request_id: Names


class MasterNames(DialectSection, frozen=True, kw_only=True):
    container: Names
    serial: Names
    application: Names
    time_zone: Names
    name: Names
    description: Names
    portal_group: Names
    software_build: Names
    location: Names
    devices: Names


class DeviceNames(DialectSection, frozen=True, kw_only=True):
    type: Names
    id: Names
    name: Names
    active: Names
    last_read: Names
    log_type: str
    input_type: str
    mbus_type: str
    channels: Names


class ChannelNames(DialectSection, frozen=True, kw_only=True):
    id: Names
    name: Names
    unit: Names
    scale: Names


class ReadingNames(DialectSection, frozen=True, kw_only=True):
    container: Names
    nested: Names
    device: Names
    channel: Names
    timestamp: Names
    received_time: Names
    values: Names
    value: Names
    total_count: Names
    total_pages: Names
    page_size: Names


class IntervalsInSeconds(DialectSection, frozen=True, kw_only=True):
    log_interval: int
    collection_interval: int
    log_memory: int


class Dialect(DialectSection, frozen=True, kw_only=True):
    """The whole table; dialect.toml names the source of each entry."""

    name: str
    hosts: PortalHosts
    paths: PathTemplates
    request: RequestNames
    status: StatusNames
    trace: TraceNames
    master: MasterNames
    device: DeviceNames
    channel: ChannelNames
    readings: ReadingNames
    intervals: IntervalsInSeconds


def dialect_from(table: dict[str, Any]) -> Dialect:
    """Raises `DialectError` that names the entry at fault."""
    try:
        return msgspec.convert(table, Dialect)
    except msgspec.ValidationError as error:
        raise DialectError(f"dialect: {error}") from error


def overlaid(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of the table in which each entry of `changes` replaces the one of its name, within its section."""
    merged = dict(table)
    for key, value in changes.items():
        under = merged.get(key)
        merged[key] = overlaid(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
