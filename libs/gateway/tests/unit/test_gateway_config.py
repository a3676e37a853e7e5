"""The daemon's configuration: every mistake is named with its line, and all of them at once."""

from decimal import Decimal
from pathlib import Path

import pytest

from metering_gateway.daemon.build import build_sources
from metering_gateway.daemon.config import ConfigError, FolderSettings, LineSettings, ModbusSettings, load_config
from metering_gateway.daemon.toml_lines import line_of
from metering_gateway.outbox import OutboxLimits

pytestmark = pytest.mark.fast

WHOLE = """\
[platform]
url = "https://platform.example"
ca_file = "/etc/ca.pem"
answer_seconds = 120

[state]
directory = "/var/lib/metering-gateway"
max_megabytes = 500
max_age_days = 400
drop = "newest"

[health]
file = "/run/metering-gateway/health.json"

[[source]]
kind = "lines"
path = "/run/meters"
devices = {"meter-1" = "29"}

[[source]]
kind = "folder"
path = "/var/spool/meters"
mapping = "/etc/mapping.json"

[[source]]
kind = "modbus"
host = "192.168.1.20"

[[source.points]]
device = "29"
sensor = "Voltaje A-N"
address = 0
type = "float32"

[[source.points]]
device = "29"
sensor = "Corriente A"
address = 12
multiply = 0.1
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, WHOLE))
    gateway = config.gateway()
    assert (gateway.url, gateway.answer_seconds, gateway.ca_file) == (
        "https://platform.example",
        120,
        Path("/etc/ca.pem"),
    )
    assert gateway.limits == OutboxLimits(500_000_000, 400 * 86_400, "newest")
    lines, folder, modbus = config.sources
    assert isinstance(lines, LineSettings)
    assert lines.devices == {"meter-1": "29"}
    assert isinstance(folder, FolderSettings)
    assert isinstance(modbus, ModbusSettings)
    assert modbus.points[1].multiply == Decimal("0.1")
    assert [source.name for source in build_sources(config.sources, print)] == ["lines-1", "folder-2", "modbus-3"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("url = ", "urls = "), r"gateway.toml:2: platform.urls: is unknown"),
        (("url = ", "urls = "), r"gateway.toml:1: platform.url: is missing"),
        (("answer_seconds = 120", 'answer_seconds = "2 min"'), "gateway.toml:4: platform.answer_seconds: a number"),
        (('drop = "newest"', 'drop = "some"'), "gateway.toml:10: state.drop: one of oldest, newest"),
        (('kind = "folder"', 'kind = "ftp"'), "gateway.toml:21: source.1.kind: one of lines, folder, modbus, mqtt"),
        (('type = "float32"', 'type = "float"'), "gateway.toml:33: source.2.points.0.type: one of int16"),
        (("address = 12", "address = -1"), "gateway.toml:38: source.2.points.1.address: a whole number"),
        (("multiply = 0.1", 'multiply = "x"'), "gateway.toml:39: source.2.points.1.multiply: a number"),
        (('host = "192.168.1.20"', ""), "gateway.toml:25: source.2: either host"),
        (("[health]", "[helth]"), "gateway.toml:12: helth: is unknown"),
        (("[[source]]", "[[source]"), "gateway.toml"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(written(tmp_path, WHOLE.replace(change[0], change[1], 1)))


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = WHOLE.replace("url =", "urls =").replace('drop = "newest"', "drop = 7")
    with pytest.raises(ConfigError) as refused:
        load_config(written(tmp_path, text))
    assert len(str(refused.value).splitlines()) == 3


def test_the_line_of_what_is_missing_is_that_of_its_table() -> None:
    assert line_of("[a]\nx = 1\n[[b]]\n[[b]]\ny = 1\n", ("b", 1, "z")) == 4
    assert line_of("", ("a",)) == 1
