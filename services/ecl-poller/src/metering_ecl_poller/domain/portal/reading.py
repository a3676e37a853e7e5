"""Tolerant reading of the portal's answers: names by the dialect, nesting as it comes, unknown fields kept."""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from metering_ecl_poller.domain.portal.dialect import ChannelNames, DeviceNames, Dialect, Names
from metering_ecl_poller.domain.portal.models import (
    DeviceType,
    InputSettings,
    MasterData,
    PortalChannel,
    PortalDevice,
    ReadingsPage,
    Sample,
    Value,
)
from metering_ecl_poller.domain.portal.times import from_portal_time

MAX_DEPTH = 12
_NUMBER_TEXT_MAX = 60  # characters; a longer number is left as it came, for the validator to refuse


class AnswerShapeError(Exception):
    """The answer is JSON of a shape in which the dialect finds nothing to read."""


class BodyStatus(NamedTuple):
    """The status inside the body; both None where it has none."""

    code: str | None
    message: str | None


def parse_json(body: bytes) -> Any:
    """Parses UTF-8 JSON; numbers become Decimal, so that no digit is lost. Raises `AnswerShapeError`."""
    try:
        return json.loads(body.decode("utf-8-sig"), parse_float=_number, parse_int=_number, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise AnswerShapeError(f"not JSON: {type(error).__name__}") from None


def _number(text: str) -> Decimal | str:
    return Decimal(text) if len(text) <= _NUMBER_TEXT_MAX else text


def field(node: Any, names: Names, default: Any = None) -> Any:
    """The first of the names that the object has, compared without regard to case."""
    if not isinstance(node, dict):
        return default
    folded = {key.casefold(): value for key, value in node.items()}
    return next((folded[name.casefold()] for name in names if name.casefold() in folded), default)


def read_status(document: Any, dialect: Dialect) -> BodyStatus:
    """Returns the status, whether its fields stand in the body or in an object of it."""
    names = dialect.status
    code, message = field(document, names.code), field(document, names.message)
    if isinstance(code, dict):
        code, message = field(code, (*names.code, "code")), field(code, (*names.message, "message", "text"))
    return BodyStatus(_text_of(code), _text_of(message))


def read_client_request_id(document: Any, dialect: Dialect) -> str | None:
    return _text_of(field(document, dialect.trace.client_request_id))


def status_of(body: bytes, dialect: Dialect) -> BodyStatus:
    """Returns the status inside a body; a body that is not JSON has none."""
    try:
        return read_status(parse_json(body), dialect)
    except AnswerShapeError:
        return BodyStatus(None, None)


def read_server_request_id(document: Any, dialect: Dialect) -> str | None:
    return _text_of(field(document, dialect.trace.server_request_id))


def read_master_data(document: Any, dialect: Dialect) -> MasterData:
    """Raises `AnswerShapeError` where no list of devices can be found."""
    names = dialect.master
    body = field(document, names.container, document)
    devices = field(body, names.devices)
    if not isinstance(devices, list):
        raise AnswerShapeError(f"master data has no list of devices (looked for {', '.join(names.devices)})")
    known = (names.serial, names.name, names.application, names.time_zone, names.software_build, names.devices)
    return MasterData(
        serial=_text_of(field(body, names.serial)),
        name=_text_of(field(body, names.name)),
        application=_text_of(field(body, names.application)),
        time_zone=_text_of(field(body, names.time_zone)),
        software_build=_text_of(field(body, names.software_build)),
        location=_location(body, names.location),
        devices=tuple(_device(device, dialect) for device in devices if isinstance(device, dict)),
        more=_beyond(body, known),
    )


def _location(body: dict[str, Any], names: Names) -> dict[str, str]:
    """Nested (`location: {Street: …}`) or flat (`location:Street`), whichever comes."""
    nested = field(body, names)
    pairs = list(nested.items()) if isinstance(nested, dict) else []
    prefixes = tuple(f"{name.casefold()}:" for name in names)
    pairs += [(key.split(":", 1)[1], value) for key, value in body.items() if key.casefold().startswith(prefixes)]
    return {key.casefold(): str(value) for key, value in pairs}


def _device(node: dict[str, Any], dialect: Dialect) -> PortalDevice:
    names = dialect.device
    identity = _text_of(field(node, names.id))
    if identity is None:
        raise AnswerShapeError(f"a device has no id (looked for {', '.join(names.id)})")
    channels = field(node, names.channels)
    return PortalDevice(
        id=identity,
        type=_device_type(field(node, names.type), names),
        name=_text_of(field(node, names.name)) or "",
        active=_truth(field(node, names.active, default=True)),
        last_read_ms=_moment_or_none(field(node, names.last_read)),
        created_ms=_moment_or_none(field(node, names.created)),
        input=_input(node, names),
        channels=tuple(_channels(channels, dialect.channel)),
        more=_beyond(node, (names.id, names.type, names.name, names.active, names.last_read, names.channels)),
    )


def _input(node: dict[str, Any], names: DeviceNames) -> InputSettings:
    low, high = (number_or_raw(field(node, name)) for name in (names.input_min, names.input_max))
    return InputSettings(
        low=low if isinstance(low, Decimal) else None,
        high=high if isinstance(high, Decimal) else None,
        opened=_text_of(field(node, names.input_open_text)),
        closed=_text_of(field(node, names.input_close_text)),
        full_scale=names.input_full_scale,
    )


def _channels(nodes: Any, names: ChannelNames) -> Iterator[PortalChannel]:
    for node in nodes if isinstance(nodes, list) else []:
        identity = _text_of(field(node, names.id))
        if identity is not None:
            scale = number_or_raw(field(node, names.scale))
            yield PortalChannel(
                id=identity,
                name=_text_of(field(node, names.name)) or identity,
                unit=_text_of(field(node, names.unit)) or None,
                scale=scale if isinstance(scale, Decimal) else Decimal(1),
            )


def _device_type(text: Any, names: DeviceNames) -> DeviceType:
    kinds = {names.log_type: DeviceType.LOG, names.input_type: DeviceType.INPUT, names.mbus_type: DeviceType.MBUS}
    folded = {name.casefold(): kind for name, kind in kinds.items()}
    return folded.get(str(text).casefold(), DeviceType.OTHER)


def read_readings(document: Any, dialect: Dialect, asked_device: str, answered_ms: int) -> ReadingsPage:
    """Samples wherever they are nested; duplicates are left to the caller.

    Raises `AnswerShapeError` when there is data and not one sample in it can be read: then the dialect is wrong, and
    the caller must not take it for "nothing there".
    """
    names = dialect.readings
    data = document if isinstance(document, list) else field(document, names.container)
    walk = _SampleWalk(dialect, answered_ms)
    walk.visit(data, _Context(asked_device), 0)
    if data and not walk.samples and not (walk.empty_groups and not walk.unreadable):
        why = walk.unreadable[0] if walk.unreadable else f"nothing under {', '.join(names.container)} is a sample"
        raise AnswerShapeError(f"readings cannot be read: {why}")
    return ReadingsPage(
        samples=tuple(walk.samples),
        unreadable=tuple(walk.unreadable),
        total_count=_count(field(document, names.total_count)),
        total_pages=_count(field(document, names.total_pages)),
        page_size=_count(field(document, names.page_size)),
    )


class _Context(NamedTuple):
    """What the levels above a value have said of it."""

    device: str
    channel: str | None = None
    timestamp: Any = None
    received: Any = None


class _SampleWalk:
    """Collects samples from a tree of lists and objects, each level adding to the context of those below."""

    def __init__(self, dialect: Dialect, answered_ms: int) -> None:
        self._names = dialect.readings
        self._answered_ms = answered_ms
        self.samples: list[Sample] = []
        self.unreadable: list[str] = []
        self.empty_groups = 0
        names = self._names
        lists = (names.container, names.nested, names.device, names.channel, names.timestamp, names.received_time)
        self._known = {name.casefold() for one in (*lists, names.values, names.value) for name in one}

    def visit(self, node: Any, context: _Context, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.unreadable.append("nested too deeply")
        elif isinstance(node, list) and self._is_row(node):
            self._visit_object(dict(zip(self._names.columns, node, strict=False)), context, depth)
        elif isinstance(node, list):
            self.empty_groups += not node
            for item in node:
                self.visit(item, context, depth + 1)
        elif isinstance(node, dict):
            self._visit_object(node, context, depth)
        elif node is not None:
            self.unreadable.append(f"{type(node).__name__} where a sample was expected")

    def _is_row(self, node: list[Any]) -> bool:
        """A row without names: scalars in the order of the dialect's columns."""
        scalars = not any(isinstance(one, dict | list) for one in node)
        return bool(node) and scalars and 0 < len(self._names.columns) <= len(node)

    def _visit_keyed(self, node: dict[str, Any], context: _Context, depth: int) -> None:
        """An object whose keys are the device or its channels instead of names of fields."""
        for key, value in node.items():
            if isinstance(value, dict | list):
                inner = context if key == context.device else context._replace(channel=key)
                self.visit(value, inner, depth + 1)

    def _visit_object(self, node: dict[str, Any], context: _Context, depth: int) -> None:
        names, inner = self._names, self._deeper(node, context)
        folded = {key.casefold() for key in node}
        if not node:
            self.empty_groups += 1
        if not folded & self._known:
            self._visit_keyed(node, context, depth)
            return
        if any(name.casefold() in folded for name in names.value):
            self._sample(inner, field(node, names.value))
        values = field(node, names.values)
        if isinstance(values, dict):
            for channel, value in values.items():
                self._sample(inner._replace(channel=channel), value)
        elif values is not None:
            self.visit(values, inner, depth + 1)
        for name in (*names.container, *names.nested):
            self.visit(field(node, (name,)), inner, depth + 1)

    def _deeper(self, node: dict[str, Any], context: _Context) -> _Context:
        names = self._names
        return _Context(
            _text_of(field(node, names.device)) or context.device,
            _text_of(field(node, names.channel)) or context.channel,
            field(node, names.timestamp, context.timestamp),
            field(node, names.received_time, context.received),
        )

    def _sample(self, context: _Context, value: Any) -> None:
        where = f"device {context.device}, channel {context.channel}"
        if context.channel is None:
            self.unreadable.append(f"{where}: a value without channel")
            return
        try:
            timestamp = from_portal_time(context.timestamp)
            received = timestamp if context.received is None else from_portal_time(context.received)
        except (ValueError, OverflowError):
            self.unreadable.append(f"{where}: time stamp {str(context.timestamp)[:40]!r} cannot be read")
            return
        number = number_or_raw(value)
        self.samples.append(Sample(context.device, context.channel, timestamp, received, number, self._answered_ms))


def number_or_raw(value: Any) -> Value:
    """Numbers and numeric texts with a point become Decimal; anything else stays what it is."""
    if isinstance(value, str) and len(value) <= _NUMBER_TEXT_MAX:
        try:
            number = Decimal(value.strip())
        except InvalidOperation:
            return value
        return number if number.is_finite() and "_" not in value else value
    return value  # type: ignore[no-any-return]  # JSON values only, by the contract of parse_json


def _truth(value: Any) -> bool:
    return value is True or str(value).strip().casefold() in ("true", "1")


def _text_of(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict | list) else str(value)


def _count(value: Any) -> int | None:
    number = number_or_raw(value)
    return int(number) if isinstance(number, Decimal) and number == number.to_integral_value() else None


def _moment_or_none(value: Any) -> int | None:
    try:
        return from_portal_time(value)
    except (ValueError, OverflowError):
        return None


def _beyond(node: Any, known: tuple[Names, ...]) -> dict[str, object]:
    taken = {name.casefold() for names in known for name in names}
    return {key: value for key, value in node.items() if key.casefold() not in taken}
