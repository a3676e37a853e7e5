"""The dialect: every name and number of the portal's API that the poller assumes, as one typed table."""

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any, Literal

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
    to: str
    device: str
    channels: str
    channels_as: Literal["none", "list", "repeat"]
    direction: str
    forward: str
    backward: str
    page_size: str
    page_number: str
    paging: Literal["number", "offset", "from"]
    first_page: int
    wanted_page_size: int
    page_cap: int


class StatusNames(DialectSection, frozen=True, kw_only=True):
    code: Names
    message: Names
    success: Names
    denied: Names
    busy: Names
    ended: Names


class TraceNames(DialectSection, frozen=True, kw_only=True):
    client_request_id: Names
    server_request_id: Names


class MasterNames(DialectSection, frozen=True, kw_only=True):
    container: Names
    serial: Names
    application: Names
    time_zone: Names
    name: Names
    software_build: Names
    location: Names
    devices: Names


class DeviceNames(DialectSection, frozen=True, kw_only=True):
    type: Names
    id: Names
    name: Names
    active: Names
    last_read: Names
    created: Names
    input_max: Names
    input_min: Names
    input_close_text: Names
    input_open_text: Names
    input_full_scale: Decimal
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
    columns: Names
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
        dialect = msgspec.convert(table, Dialect)
    except msgspec.ValidationError as error:
        raise DialectError(f"dialect: {error}") from error
    if dialect.device.input_full_scale <= 0:
        raise DialectError("dialect: device.input_full_scale must be above 0")
    _check_templates(dialect)
    return dialect


def _check_templates(dialect: Dialect) -> None:
    """A path that names no argument would be asked as it stands, for ever."""
    names = dialect.request
    credentials = {names.server_code, names.serial, names.access_code, names.client_request_id}
    selectors = {names.device, names.channels, names.from_, names.to, names.direction, names.page_size}
    for name, template, known in (
        ("master_data", dialect.paths.master_data, credentials),
        ("readings", dialect.paths.readings, credentials | selectors | {names.page_number}),
    ):
        if unknown := set(re.findall(r"{([^}]*)}", template)) - known:
            wrong = ", ".join(f"{{{one}}}" for one in sorted(unknown))
            raise DialectError(f"dialect: paths.{name} has {wrong}, which is none of {', '.join(sorted(known))}")
    if not dialect.paths.master_data.startswith("/") or not dialect.paths.readings.startswith("/"):
        raise DialectError("dialect: paths.master_data and paths.readings begin with /")


def overlaid(table: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of the table in which each entry of `changes` replaces the one of its name, within its section."""
    merged = dict(table)
    for key, value in changes.items():
        under = merged.get(key)
        merged[key] = overlaid(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


@cache
def names_of(dialect: Dialect) -> frozenset[str]:
    """Returns every name that the dialect knows, casefolded."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value.casefold()
        elif isinstance(value, list | tuple | dict):
            for one in value.values() if isinstance(value, dict) else value:
                yield from texts(one)

    return frozenset(texts(msgspec.to_builtins(dialect)))
