"""Values that meters publish over MQTT (extra `mqtt`): each point is a topic, and where in its payload the value is."""

import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt

from metering_gateway.sources.base import UNSCALED, Scale, Sink, SourceError


@dataclass(frozen=True, slots=True)
class MqttPoint:
    """`path` leads into a payload of JSON (`data/voltage`); without it the payload is the number.

    `timestamp_path` leads to whole Unix seconds; without it the measure is of the moment of its arrival.
    """

    topic: str
    device: str
    sensor: str
    path: str = ""
    timestamp_path: str = ""
    scale: Scale = UNSCALED


@dataclass(frozen=True, slots=True)
class MqttBroker:
    """`password_file` holds the password, so that no configuration does. `client_id` keeps the session over breaks."""

    host: str
    port: int = 1883
    tls: bool = False
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    client_id: str = "metering-gateway"


@dataclass
class MqttSource:
    """Subscribes with QoS 1 and a session that a broker may keep over breaks.

    The library acknowledges a message before it is stored here: a kill between the two loses it, so meters that count
    should publish their registers, not differences.
    """

    broker: MqttBroker
    points: Sequence[MqttPoint]
    report: Callable[[str], None]
    name: str = "mqtt"

    async def run(self, sink: Sink) -> None:
        try:
            async with _client(self.broker) as client:
                for topic in sorted({point.topic for point in self.points}):
                    await client.subscribe(topic, qos=1)
                async for message in client.messages:
                    self._take(message, sink)
        except (aiomqtt.MqttError, OSError) as error:
            raise SourceError(f"{self.broker.host}:{self.broker.port}: {error}") from error

    def _take(self, message: aiomqtt.Message, sink: Sink) -> None:
        """Points of one message that share device and time are one measure."""
        measures: dict[tuple[str, int | None], dict[str, float]] = {}
        for point in self.points:
            if message.topic.matches(point.topic):
                try:
                    value, timestamp = _read(point, message.payload)
                except ValueError as error:
                    self.report(f"{self.name}: {message.topic}: {error}")
                    continue
                measures.setdefault((point.device, timestamp), {})[point.sensor] = value
        for (device, timestamp), values in measures.items():
            sink.store(device, values, timestamp)


def _read(point: MqttPoint, payload: object) -> tuple[float, int | None]:
    """(value, timestamp). Raises ValueError."""
    try:
        document = json.loads(payload if isinstance(payload, (bytes, bytearray, str)) else str(payload))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    value = _at(document, point.path)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{point.path or 'the payload'} is no number but {value!r}")  # noqa: TRY004  bad input
    timestamp = _at(document, point.timestamp_path) if point.timestamp_path else None
    if timestamp is not None and (isinstance(timestamp, bool) or not isinstance(timestamp, int)):
        raise ValueError(f"{point.timestamp_path} is no whole number of seconds but {timestamp!r}")
    return point.scale.of(value), timestamp


def _at(document: Any, path: str) -> Any:
    for name in filter(None, path.split("/")):
        try:
            document = document[int(name)] if isinstance(document, list) else document[name]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"the payload has no {path}") from error
    return document


def _client(broker: MqttBroker) -> aiomqtt.Client:
    password = broker.password_file.read_text(encoding="utf-8").strip() if broker.password_file else None
    context = ssl.create_default_context(cafile=broker.ca_file) if broker.tls else None
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.username,
        password=password,
        identifier=broker.client_id,
        clean_session=False,
        tls_context=context,
    )
