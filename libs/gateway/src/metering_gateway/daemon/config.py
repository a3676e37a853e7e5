"""The daemon's configuration: a TOML file, every mistake named with its line and what is expected there."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from metering_gateway.daemon.toml_lines import Place, line_of
from metering_gateway.gateway import GatewayConfig
from metering_gateway.outbox import OutboxLimits

_MEGABYTE = 1_000_000


class ConfigError(ValueError):
    """Every mistake of the file, one a line: `gateway.toml:12: source.points.type: …`."""


@dataclass(frozen=True)
class PlatformSettings:
    """How the platform is reached."""

    url: str
    ca_file: Path | None = None
    proxy: str | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    answer_seconds: float = 30.0
    follow_results: bool = True


@dataclass(frozen=True)
class StateSettings:
    """Where the outbox and the token stand, and how large the outbox may become."""

    directory: Path
    max_megabytes: float | None = None
    max_age_days: float | None = None
    drop: Literal["oldest", "newest"] = "oldest"
    disk_low_megabytes: float = 50.0


@dataclass(frozen=True)
class HealthSettings:
    """A file that says how the daemon does, written on a beat."""

    file: Path | None = None
    every_seconds: float = 10.0


@dataclass(frozen=True)
class ModbusPointSettings:
    device: str
    sensor: str
    address: int
    area: Literal["holding", "input"] = "holding"
    type: Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"] = "float32"
    word_order: Literal["big", "little"] = "big"
    multiply: Decimal = Decimal(1)
    add: Decimal = Decimal(0)
    unit: int = 1


@dataclass(frozen=True)
class MqttPointSettings:
    topic: str
    device: str
    sensor: str
    path: str = ""
    timestamp_path: str = ""
    multiply: Decimal = Decimal(1)
    add: Decimal = Decimal(0)


@dataclass(frozen=True)
class LineSettings:
    """Lines of JSON. `path`: a FIFO, or - for standard input."""

    kind: Literal["lines"]
    path: str = "-"
    devices: dict[str, str] = field(default_factory=dict)
    sensors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FolderSettings:
    kind: Literal["folder"]
    path: Path
    mapping: Path
    pattern: str = "*.csv"
    every_seconds: float = 5.0


@dataclass(frozen=True)
class ModbusSettings:
    """TCP with a `host`, else RTU with a serial `device`."""

    kind: Literal["modbus"]
    points: list[ModbusPointSettings]
    host: str | None = None
    port: int = 502
    device: str | None = None
    baud_rate: int = 9_600
    parity: Literal["N", "E", "O"] = "E"
    stop_bits: int = 1
    timeout_seconds: float = 3.0
    every_seconds: float = 60.0


@dataclass(frozen=True)
class MqttSettings:
    kind: Literal["mqtt"]
    host: str
    points: list[MqttPointSettings]
    port: int = 1883
    tls: bool = False
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    client_id: str = "metering-gateway"


SourceSettings = LineSettings | FolderSettings | ModbusSettings | MqttSettings
_KINDS: dict[str, type] = {
    "lines": LineSettings,
    "folder": FolderSettings,
    "modbus": ModbusSettings,
    "mqtt": MqttSettings,
}


@dataclass(frozen=True)
class DaemonConfig:
    """The whole file."""

    platform: PlatformSettings
    state: StateSettings
    health: HealthSettings
    sources: tuple[SourceSettings, ...]

    def gateway(self) -> GatewayConfig:
        platform, state = self.platform, self.state
        return GatewayConfig(
            platform.url,
            state.directory,
            follow_results=platform.follow_results,
            answer_seconds=platform.answer_seconds,
            limits=OutboxLimits(
                _scaled(state.max_megabytes, _MEGABYTE), _scaled(state.max_age_days, 86_400), state.drop
            ),
            disk_low_bytes=round(state.disk_low_megabytes * _MEGABYTE),
            ca_file=platform.ca_file,
            proxy=platform.proxy,
            client_certificate=platform.client_certificate,
            client_key=platform.client_key,
        )


def load_config(path: Path) -> DaemonConfig:
    """Raises OSError and ConfigError."""
    text = path.read_text(encoding="utf-8")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    reader = _Reader()
    config = reader.config(document)
    if reader.mistakes or config is None:
        found = [f"{path}:{line_of(text, place)}: {_dotted(place)}{said}" for place, said in reader.mistakes]
        raise ConfigError("\n".join(found))
    return config


class _Reader:
    """Fills the settings' classes and collects the mistakes, so that all of them are reported at once."""

    def __init__(self) -> None:
        self.mistakes: list[tuple[Place, str]] = []

    def config(self, document: Mapping[str, Any]) -> DaemonConfig | None:
        for name in document.keys() - {"platform", "state", "health", "source"}:
            self._wrong((name,), "is unknown; there are platform, state, health and source")
        platform = self._table(PlatformSettings, document.get("platform"), ("platform",))
        state = self._table(StateSettings, document.get("state"), ("state",))
        health = self._table(HealthSettings, document.get("health", {}), ("health",))
        sources = self._sources(document.get("source", []))
        if self.mistakes:
            return None
        return DaemonConfig(platform, state, health, tuple(sources))

    def _sources(self, listed: Any) -> list[Any]:
        if not isinstance(listed, list):
            self._wrong(("source",), "[[source]] is expected, with two brackets")
            return []
        return [self._source(document, ("source", index)) for index, document in enumerate(listed)]

    def _source(self, document: Any, place: Place) -> Any:
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind not in _KINDS:
            self._wrong((*place, "kind"), f"one of {', '.join(_KINDS)} is expected, not {kind!r}")
            return None
        source = self._table(_KINDS[kind], document, place)
        if isinstance(source, ModbusSettings) and (source.host is None) == (source.device is None):
            self._wrong(place, "either host (TCP) or device (RTU) is expected")
        return source

    def _table(self, kind: type, document: Any, place: Place) -> Any:
        if not isinstance(document, dict):
            self._wrong(place, "this table is expected")
            return None
        hints, filled = get_type_hints(kind), {}
        fields = {f.name: f for f in dataclasses.fields(kind)}
        for name in document.keys() - fields.keys():
            self._wrong((*place, name), f"is unknown; there are {', '.join(fields)}")
        for name, setting in fields.items():
            if name in document:
                filled[name] = self._value(hints[name], document[name], (*place, name))
            elif setting.default is dataclasses.MISSING and setting.default_factory is dataclasses.MISSING:
                self._wrong((*place, name), "is missing")
        return None if self.mistakes else kind(**filled)

    def _value(self, hint: Any, value: Any, place: Place) -> Any:
        """The value as its setting wants it; a mistake otherwise."""
        if get_origin(hint) is Literal:
            return self._expect(value in get_args(hint), value, place, f"one of {', '.join(get_args(hint))}")
        options = [option for option in get_args(hint) if option is not type(None)] or [hint]
        if get_origin(hint) is list:
            return self._list(get_args(hint)[0], value, place)
        if get_origin(hint) is dict:
            texts = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
            return self._expect(texts, value, place, "a table of texts")
        return self._plain(options[0], value, place)

    def _plain(self, kind: Any, value: Any, place: Place) -> Any:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind is Path:
            return Path(self._expect(isinstance(value, str), value, place, "a path") or "")
        if kind is Decimal:
            return self._decimal(value, place)
        if kind is float:
            return self._expect(number and value > 0, value, place, "a number above 0")
        if kind is int:
            return self._expect(number and isinstance(value, int) and value >= 0, value, place, "a whole number")
        return self._expect(isinstance(value, kind), value, place, "text" if kind is str else "true or false")

    def _decimal(self, value: Any, place: Place) -> Decimal:
        try:
            return Decimal(str(value))
        except InvalidOperation:
            self._wrong(place, f"a number is expected, not {value!r}")
            return Decimal(0)

    def _list(self, kind: type, value: Any, place: Place) -> list[Any]:
        if not isinstance(value, list) or not value:
            self._wrong(place, "at least one is expected")
            return []
        return [self._table(kind, document, (*place, index)) for index, document in enumerate(value)]

    def _expect(self, holds: Any, value: Any, place: Place, what: str) -> Any:
        if not holds:
            self._wrong(place, f"{what} is expected, not {value!r}")
            return None
        return value

    def _wrong(self, place: Place, said: str) -> None:
        self.mistakes.append((place, said))


def _dotted(place: Place) -> str:
    return f"{'.'.join(str(part) for part in place)}: "


def _scaled(number: float | None, by: int) -> int | None:
    return None if number is None else round(number * by)
