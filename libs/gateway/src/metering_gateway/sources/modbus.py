"""Meters that speak Modbus TCP or RTU (extra `modbus`): registers are read on a beat, each point typed and scaled."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.client.mixin import ModbusClientMixin

from metering_gateway.sources.base import UNSCALED, Scale, Sink, Sleep, SourceError

Kind = Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
Area = Literal["holding", "input"]
Order = Literal["big", "little"]
TYPES = {kind: ModbusClientMixin.DATATYPE[kind.upper()] for kind in
         ("int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModbusPoint:
    """One value of one meter. `address` counts from 0, as in the protocol; `word_order` is that of 32 and 64 bits."""

    device: str
    sensor: str
    address: int
    area: Area = "holding"
    type: Kind = "float32"
    word_order: Order = "big"
    scale: Scale = UNSCALED
    unit: int = 1


@dataclass(frozen=True, slots=True)
class ModbusLink:
    """TCP if there is a `host`, else the serial device `port`."""

    host: str | None = None
    port: int | str = 502
    baud_rate: int = 9_600
    parity: Literal["N", "E", "O"] = "E"
    stop_bits: int = 1
    timeout_seconds: float = 3.0


@dataclass
class ModbusSource:
    """Reads all points every `every_seconds`; those of one device are one measure, of the moment of their reading.

    A point that the meter refuses is reported and left out; a meter that does not answer loses its measure of this
    beat, the others keep theirs.
    """

    link: ModbusLink
    points: Sequence[ModbusPoint]
    report: Callable[[str], None]
    every_seconds: float = 60.0
    sleep: Sleep = asyncio.sleep
    name: str = "modbus"

    async def run(self, sink: Sink) -> None:
        client = _client(self.link)
        loop = asyncio.get_running_loop()
        try:
            if not await client.connect():
                raise SourceError(f"{self.link.host or self.link.port} cannot be reached")
            while True:
                began = loop.time()
                await self._read_all(client, sink)
                await self.sleep(max(0.0, began + self.every_seconds - loop.time()))
        finally:
            client.close()

    async def _read_all(self, client: "AsyncModbusTcpClient | AsyncModbusSerialClient", sink: Sink) -> None:
        by_device: dict[str, list[ModbusPoint]] = defaultdict(list)
        for point in self.points:
            by_device[point.device].append(point)
        failed = 0
        for device, points in by_device.items():
            values = {point.sensor: value for point in points if (value := await self._read(client, point)) is not None}
            failed += not values
            if values:
                sink.store(device, values)
        if failed == len(by_device):
            raise SourceError("no meter answers")

    async def _read(self, client: "AsyncModbusTcpClient | AsyncModbusSerialClient", point: ModbusPoint) -> float | None:
        what = f"{point.sensor} of device {point.device} (unit {point.unit}, {point.area} register {point.address})"
        ask = client.read_holding_registers if point.area == "holding" else client.read_input_registers
        kind = TYPES[point.type]
        try:
            answer = await ask(point.address, count=kind.value[1], device_id=point.unit)
        except ModbusException as error:
            self.report(f"{self.name}: {what}: {error}")
            return None
        if answer.isError() or len(answer.registers) != kind.value[1]:
            self.report(f"{self.name}: {what}: the meter refuses: {answer}")
            return None
        raw = client.convert_from_registers(answer.registers, kind, word_order=point.word_order)
        return point.scale.of(raw) if isinstance(raw, (int, float)) else None


def _client(link: ModbusLink) -> "AsyncModbusTcpClient | AsyncModbusSerialClient":
    if link.host is not None:
        return AsyncModbusTcpClient(link.host, port=int(link.port), timeout=link.timeout_seconds)
    return AsyncModbusSerialClient(
        str(link.port),
        baudrate=link.baud_rate,
        parity=link.parity,
        stopbits=link.stop_bits,
        timeout=link.timeout_seconds,
    )
