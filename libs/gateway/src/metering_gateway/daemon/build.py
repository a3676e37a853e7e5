"""Makes the sources that a configuration names; each needs its extra only if it is used."""

from collections.abc import Callable, Sequence
from pathlib import Path

from metering_gateway.daemon.config import (
    FolderSettings,
    LineSettings,
    ModbusPointSettings,
    ModbusSettings,
    MqttPointSettings,
    MqttSettings,
    SourceSettings,
)
from metering_gateway.sources.base import Names, Scale, Source
from metering_gateway.sources.folder import FolderSource
from metering_gateway.sources.lines import LineSource

Report = Callable[[str], None]


class MissingExtraError(Exception):
    """A source needs a package that is not installed; the message says what to install."""


def build_sources(settings: Sequence[SourceSettings], report: Report) -> list[Source]:
    """Raises MissingExtraError."""
    return [_build(source, f"{source.kind}-{number}", report) for number, source in enumerate(settings, 1)]


def _build(settings: SourceSettings, name: str, report: Report) -> Source:
    match settings:
        case LineSettings():
            path = None if settings.path == "-" else Path(settings.path)
            return LineSource(path, report, Names(settings.devices, settings.sensors), name)
        case FolderSettings():
            return FolderSource(
                settings.path, settings.mapping, report, settings.pattern, settings.every_seconds, name=name
            )
        case ModbusSettings():
            return _modbus(settings, name, report)
        case MqttSettings():
            return _mqtt(settings, name, report)


def _modbus(settings: ModbusSettings, name: str, report: Report) -> Source:
    try:
        from metering_gateway.sources.modbus import ModbusLink, ModbusPoint, ModbusSource  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{name} needs: pip install 'metering-gateway[modbus]'") from error

    def point(p: ModbusPointSettings) -> ModbusPoint:
        scale = Scale(p.multiply, p.add)
        return ModbusPoint(p.device, p.sensor, p.address, p.area, p.type, p.word_order, scale, p.unit)

    link = ModbusLink(
        settings.host,
        settings.port if settings.device is None else settings.device,
        settings.baud_rate,
        settings.parity,
        settings.stop_bits,
        settings.timeout_seconds,
    )
    return ModbusSource(link, [point(p) for p in settings.points], report, settings.every_seconds, name=name)


def _mqtt(settings: MqttSettings, name: str, report: Report) -> Source:
    try:
        from metering_gateway.sources.mqtt import MqttBroker, MqttPoint, MqttSource  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{name} needs: pip install 'metering-gateway[mqtt]'") from error

    def point(p: MqttPointSettings) -> MqttPoint:
        return MqttPoint(p.topic, p.device, p.sensor, p.path, p.timestamp_path, Scale(p.multiply, p.add))

    broker = MqttBroker(
        settings.host,
        settings.port,
        settings.tls,
        settings.ca_file,
        settings.username,
        settings.password_file,
        settings.client_id,
    )
    return MqttSource(broker, [point(p) for p in settings.points], report, name)
