"""Each source against what it reads in the field: a FIFO, files that grow, a Modbus server, an MQTT broker."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import aiomqtt
import pytest
from amqtt.broker import Broker  # type: ignore[import-untyped]
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from metering_gateway.domain.measures import SensorValues
from metering_gateway.replay import CsvFile
from metering_gateway.sources import Sink, Source, SourceError
from metering_gateway.sources.base import Names, Scale
from metering_gateway.sources.folder import FolderSource
from metering_gateway.sources.lines import LineSource
from metering_gateway.sources.modbus import ModbusLink, ModbusPoint, ModbusSource
from metering_gateway.sources.mqtt import MqttBroker, MqttPoint, MqttSource

pytestmark = pytest.mark.fast


class Stored:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.measures: list[tuple[str, dict[str, object], int | None]] = []

    def store(self, device_number: str, values: SensorValues, timestamp: int | None = None) -> None:
        self.measures.append((device_number, dict(values), timestamp))

    async def store_file(self, file: CsvFile) -> None:
        for row in file.rows():
            for measure in row.measures:
                self.store(measure.device_number, measure.values, measure.timestamp)

    async def holds(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.measures) < count:  # noqa: ASYNC110  a list has no event
                await asyncio.sleep(0.01)


@asynccontextmanager
async def reading(source: Source, sink: Sink) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run(sink))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_lines_of_a_fifo_are_measures_and_a_bad_line_costs_only_itself(tmp_path: Path) -> None:
    path, stored, reports = tmp_path / "meters", Stored(), list[str]()
    source = LineSource(path, reports.append, Names({"m1": "29"}, {"I": "Corriente A"}))
    good = json.dumps({"device": "m1", "timestamp": 1773241500, "values": {"I": 1.4, "Voltaje A-N": 230}})
    bad = ["{", "[]", '{"device": 1, "values": {}}', '{"device": "1"}', good.replace("1773241500", "1.5")]
    async with reading(source, stored):
        while not path.exists():  # noqa: ASYNC110  a file has no event
            await asyncio.sleep(0.01)
        for part in ("\n".join([*bad, good]) + "\n", '{"device": "30", "values": {"I": 2}}\n'):
            await asyncio.to_thread(path.write_text, part)  # each time another writer comes and goes
        await stored.holds(2)
    assert stored.measures == [
        ("29", {"Corriente A": 1.4, "Voltaje A-N": 230}, 1773241500),
        ("30", {"Corriente A": 2}, None),
    ]
    assert len(reports) == len(bad)


async def test_a_file_in_place_of_the_fifo_is_said(tmp_path: Path) -> None:
    (tmp_path / "meters").write_text("")
    with pytest.raises(SourceError, match="is no FIFO"):
        await LineSource(tmp_path / "meters", print).run(Stored())


MAPPING = {
    "time": {"columns": ["t"], "zone": "Etc/UTC"},
    "devices": [{"number": "29", "sensors": [{"sensor": "Corriente A", "column": "A"}]}],
}


async def test_files_of_a_folder_are_read_once_whole_and_moved_away(tmp_path: Path) -> None:
    mapping, spool = tmp_path / "mapping.json", tmp_path / "spool"
    mapping.write_text(json.dumps(MAPPING))
    spool.mkdir()
    stored, reports = Stored(), list[str]()
    looked, look_again = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def until_next_look(_: float) -> None:
        looked.release()
        await look_again.acquire()

    async def look() -> None:
        look_again.release()
        await asyncio.wait_for(looked.acquire(), 30)

    async with reading(FolderSource(spool, mapping, reports.append, sleep=until_next_look), stored):
        await asyncio.wait_for(looked.acquire(), 30)
        (spool / "a.csv").write_text("t;A\n2026-03-11T15:05:00;1,5\n")
        await look()
        (spool / "a.csv").write_text("t;A\n2026-03-11T15:05:00;1,5\n2026-03-11T15:06:00;2,5\n")  # it grows
        (spool / "b.csv").write_text("t;A\n2026-03-11T15:05:00;x\n")
        (spool / "c.csv.tmp").write_text("t;A\n")
        await look()
        assert not stored.measures
        await look()
    assert [(values, at) for _, values, at in stored.measures] == [
        ({"Corriente A": 1.5}, 1773241500),
        ({"Corriente A": 2.5}, 1773241560),
    ]
    assert sorted(str(path.relative_to(spool)) for path in spool.rglob("*.*")) == [
        "c.csv.tmp",
        "done/a.csv",
        "refused/b.csv",
        "refused/b.reason.txt",
    ]
    assert "line 2: A: 'x' is no number" in reports[0]


async def test_modbus_registers_are_typed_scaled_and_one_measure_per_meter(unused_tcp_port: int) -> None:
    registers = [
        SimData(0, values=[230.5], datatype=DataType.FLOAT32),
        SimData(2, values=[-25], datatype=DataType.INT16),
        SimData(3, values=[123_456_789_012], datatype=DataType.UINT64),
    ]
    server = ModbusTcpServer(SimDevice(7, registers), address=("127.0.0.1", unused_tcp_port))
    await server.serve_forever(background=True)
    stored, reports = Stored(), list[str]()
    link = ModbusLink("127.0.0.1", unused_tcp_port, timeout_seconds=1)
    points = [
        ModbusPoint("29", "Voltaje A-N", 0, unit=7),
        ModbusPoint("29", "Temperatura", 2, "input", "int16", scale=Scale(Decimal("0.1"), Decimal(100)), unit=7),
        ModbusPoint("30", "Energía activa acumulada", 3, type="uint64", scale=Scale(Decimal("0.001")), unit=7),
        ModbusPoint("30", "Corriente A", 500, unit=7),
    ]
    try:
        async with reading(ModbusSource(link, points, reports.append, every_seconds=0.05), stored):
            await stored.holds(4)
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]
    assert stored.measures[:2] == [
        ("29", {"Voltaje A-N": 230.5, "Temperatura": 97.5}, None),
        ("30", {"Energía activa acumulada": 123456789.012}, None),
    ]
    assert any("Corriente A of device 30 (unit 7, holding register 500)" in report for report in reports)


async def test_a_modbus_meter_that_is_not_there_is_said(unused_tcp_port: int) -> None:
    source = ModbusSource(ModbusLink("127.0.0.1", unused_tcp_port), [ModbusPoint("29", "x", 0)], print)
    with pytest.raises(SourceError, match="cannot be reached"):
        await source.run(Stored())


@asynccontextmanager
async def broker(port: int) -> AsyncIterator[None]:
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    running = Broker(config)
    await running.start()
    try:
        yield
    finally:
        await running.shutdown()


async def test_topics_of_a_broker_are_measures_and_a_bad_payload_costs_only_itself(unused_tcp_port: int) -> None:
    points = [
        MqttPoint("meters/29/power", "29", "Potencia", scale=Scale(Decimal("0.001"))),
        MqttPoint("meters/+/json", "30", "Voltaje A-N", "data/voltage", "at"),
        MqttPoint("meters/+/json", "30", "Corriente A", "data/currents/0", "at"),
    ]
    stored, reports = Stored(), list[str]()
    source = MqttSource(MqttBroker("127.0.0.1", unused_tcp_port), points, reports.append)
    payload = json.dumps({"at": 1773241500, "data": {"voltage": 230.5, "currents": [1.4]}})
    async with broker(unused_tcp_port), aiomqtt.Client("127.0.0.1", unused_tcp_port) as meter:  # noqa: SIM117  in turn
        async with reading(source, stored):
            while not stored.measures:
                await meter.publish("meters/29/power", b"1250", qos=1)
                await asyncio.sleep(0.1)
            assert stored.measures[0] == ("29", {"Potencia": 1.25}, None)
            for bad in (b"{", b'{"data": {}}', b"[1]", payload.replace("230.5", '"x"').encode()):
                await meter.publish("meters/2/json", bad, qos=1)
            await meter.publish("meters/1/json", payload, qos=1)
            async with asyncio.timeout(30):
                while stored.measures[-1][0] != "30" or len(stored.measures[-1][1]) == 1:  # noqa: ASYNC110  a list
                    await asyncio.sleep(0.01)
    wanted = ("30", {"Voltaje A-N": 230.5, "Corriente A": 1.4}, 1773241500)
    assert stored.measures[-1] == wanted
    assert any("meters/2/json: the payload has no data/voltage" in report for report in reports)


async def test_a_broker_that_is_not_there_is_said(unused_tcp_port: int) -> None:
    source = MqttSource(MqttBroker("127.0.0.1", unused_tcp_port), [MqttPoint("t", "29", "x")], print)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1"):
        await source.run(Stored())
