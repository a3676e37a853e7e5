"""What the portal answers, rendered with the names of the dialect and the shapes of the variant."""

from datetime import UTC, datetime
from typing import Any

from metering_ecl_poller.domain.portal.dialect import Dialect
from tests.emulators.ecl_portal.variant import Variant
from tests.emulators.ecl_portal.world import Channel, Controller, Device, Row, last_read, raw_value

STREET = {"Street": "Solitudevej", "StreetNumber": "12", "Zip": "6430", "City": "Nordborg", "Country": "DK"}


class Renderer:
    """One variant's way of writing."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.dialect: Dialect = variant.table()

    def status(self, code: str, message: str) -> dict[str, Any]:
        if not self.variant.status_in_body:
            return {}
        shown: object = 0 if code == "OK" else code
        names = self.dialect.status
        fields = {names.code[0]: shown, names.message[0]: message}
        return {names.code[-1]: fields} if self.variant.status_as_object else fields

    def trace(self, client: str | None, server: str) -> dict[str, Any]:
        names = self.dialect.trace
        echoed = {} if client is None else {names.client_request_id[0]: client}
        return echoed | {names.server_request_id[0]: server}

    def master_data(self, controller: Controller, now_ms: int) -> dict[str, Any]:
        names = self.dialect.master
        shown = [device for device in controller.devices if not device.deleted]
        body: dict[str, Any] = {
            names.serial[0]: controller.serial,
            names.application[0]: controller.application,
            names.time_zone[0]: controller.time_zone,
            names.name[0]: "Varme i kælderen",
            names.software_build[0]: self._number(2410),
            names.devices[0]: [self._device(controller, device, now_ms) for device in shown],
        }
        body |= self._location() | controller.extra
        return {names.container[0]: body} if self.variant.master_container else body

    def _location(self) -> dict[str, Any]:
        name = self.dialect.master.location[0]
        if self.variant.location == "flat":
            return {f"{name}:{key}": text for key, text in STREET.items()}
        return {name: STREET}

    def _device(self, controller: Controller, device: Device, now_ms: int) -> dict[str, Any]:
        names, channel_names = self.dialect.device, self.dialect.channel
        read = last_read(controller, device, now_ms)
        channels = [
            {channel_names.id[0]: channel.id, channel_names.name[0]: channel.name}
            | ({} if channel.unit is None else {channel_names.unit[0]: channel.unit})
            for channel in device.channels
        ]
        return {
            names.type[0]: device.type,
            names.id[0]: device.id,
            names.name[0]: device.name,
            names.active[0]: str(device.active) if self.variant.as_text else device.active,
            names.created[0]: self._date(device.created_ms),
            **({} if read is None else {names.last_read[0]: self._date(read)}),
            **device.extra,
            names.channels[0]: channels,
        }

    def readings(self, device: Device, rows: list[Row], page: dict[str, int]) -> dict[str, Any]:
        """`page` has number, size, total and pages."""
        names = self.dialect.readings
        body: dict[str, Any] = {}
        if self.variant.totals:
            body |= {"pageNumber": page["number"], names.page_size[0]: page["size"]}
            body |= {names.total_count[0]: page["total"], names.total_pages[0]: page["pages"]}
        if rows:
            return body | {names.container[0]: self._data(device, rows)}
        empties: dict[str, dict[str, Any]] = {
            "list": {names.container[0]: []},
            "null": {names.container[0]: None},
            "absent": {},
        }
        return body | empties[self.variant.empty]

    def _data(self, device: Device, rows: list[Row]) -> Any:
        names = self.dialect.readings
        if self.variant.nesting == "by_channel":
            return {
                channel.id: [{**self._times(row), names.value[0]: self._value(device, channel, row)} for row in rows]
                for channel in device.channels
            }
        if self.variant.nesting == "rows":
            flat = [self._times(row) | value for row in rows for value in self._values(device, row)]
            return [[one[name] for name in names.columns] for one in flat]
        if self.variant.nesting == "flat":
            return [
                {names.device[0]: device.id, **self._times(row), **value}
                for row in rows
                for value in self._values(device, row)
            ]
        samples = [{**self._times(row), names.values[0]: self._grouped(device, row)} for row in rows]
        return [{names.device[0]: device.id, names.nested[0]: samples}]

    def _grouped(self, device: Device, row: Row) -> Any:
        names, values = self.dialect.readings, self._values(device, row)
        if self.variant.nesting == "object":
            return {value[names.channel[0]]: value[names.value[0]] for value in values}
        return values

    def _values(self, device: Device, row: Row) -> list[dict[str, Any]]:
        names = self.dialect.readings
        return [
            {names.channel[0]: channel.id, names.value[0]: self._value(device, channel, row)}
            for channel in device.channels
        ]

    def _value(self, device: Device, channel: Channel, row: Row) -> object:
        return self._number(raw_value(device, channel, row.true_ms))

    def _times(self, row: Row) -> dict[str, str]:
        names = self.dialect.readings
        return {names.timestamp[0]: self._date(row.stamp_ms), names.received_time[0]: self._date(row.received_ms)}

    def _date(self, unix_ms: int) -> str:
        return f"/Date({unix_ms})/" if self.variant.dates == "microsoft" else iso(unix_ms)

    def _number(self, value: float | str) -> object:
        return str(value) if self.variant.as_text else value


def iso(unix_ms: int) -> str:
    """As the guide prints time stamps."""
    return f"{datetime.fromtimestamp(unix_ms / 1_000, UTC):%Y-%m-%dT%H:%M:%S}.{unix_ms % 1_000 // 100}Z"
