"""The client against the emulator: every dialect variant, every fault, and no secret anywhere."""

import logging
from typing import Any

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs

from metering_ecl_poller.adapters.portal.client import PortalClient
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.application.reading import read_forward
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.answer import PortalAnswer
from metering_ecl_poller.domain.portal.dialect import Dialect, dialect_from, overlaid
from metering_ecl_poller.domain.portal.errors import (
    AccessDeniedError,
    AnswerUnreadableError,
    PortalBusyError,
    PortalError,
    PortalMovedError,
    PortalRefusedError,
    PortalUnreachableError,
)
from metering_ecl_poller.domain.portal.models import DeviceType, ReadingsPage, Sample
from metering_ecl_poller.domain.portal.pages import DeviceReading, PageWalk, ReadingRequest
from tests.emulators.ecl_portal import fleet
from tests.emulators.ecl_portal.connected import DAY_MS, HOUR_MS, NOON_MS, ConnectedPortal
from tests.emulators.ecl_portal.faults import Kind, PortalFault
from tests.emulators.ecl_portal.variant import Variant

pytestmark = pytest.mark.fast

MEANT = {  # what the emulator says in whatever variant, as the default table says it
    "log": 4 * 24,
    "meter": 24,
}
SHAPES: dict[str, Variant] = {
    "flat list of values": Variant(nesting="flat"),
    "values as an object": Variant(nesting="object"),
    "everything as text": Variant(as_text=True),
    "no container for master data": Variant(master_container=False),
    "location flat": Variant(location="flat"),
    "no status in the body": Variant(status_in_body=False),
    "no totals": Variant(totals=False),
    "newest first": Variant(descending=True),
    "small pages": Variant(page_size_maximum=7 * 5),
    "small pages, no totals": Variant(page_size_maximum=7 * 5, totals=False),
    "small pages, newest first": Variant(page_size_maximum=7 * 5, descending=True),
    "the old build's spelling": Variant(dialect={"master": {"software_build": ["hardwareBuild"]}}),
    "objects by channel": Variant(nesting="by_channel"),
    "Microsoft's dates": Variant(dates="microsoft"),
    "status as an object": Variant(status_as_object=True),
    "shuffled pages": Variant(shuffled=True, page_size_maximum=11),
    "an error behind the last page": Variant(error_past_the_end=True, page_size_maximum=24),
    "timeStamp": Variant(dialect={"readings": {"timestamp": ["timeStamp"]}}),
}
TABLES: dict[str, dict[str, Any]] = {
    "credentials in the path": {
        "paths": {
            "master_data": "/masterData/v1/{eclAccessCode}",
            "readings": "/readings/v1/{eclAccessCode}",
        }
    },
    "other selectors": {"request": {"device": "deviceId", "from": "from", "direction": "retning"}},
    "pages counted from 0": {"request": {"first_page": 0}},
    "device and channels in the path": {
        "paths": {"readings": "/readings/v1/{eclSerial}/{externalDeviceId}/{externalChannelIds}"},
    },
    "channels as a list": {"request": {"channels_as": "list", "channels": "kanaler"}},
    "channels repeated": {"request": {"channels_as": "repeat"}},
    "pages by offset": {"request": {"paging": "offset", "page_number": "skip", "first_page": 0}},
    "until a moment": {"request": {"to": "til"}},
    "other fields": {
        "master": {"devices": ["logDevices"]},
        "channel": {"id": ["kanal"]},
        "readings": {"channel": ["kanal"], "value": ["v"], "values": ["vs"], "container": ["result"]},
    },
}


def mended(overlay: dict[str, Any]) -> Dialect:
    return dialect_from(overlaid(msgspec.to_builtins(load_dialect()), overlay))


async def read(connected: ConnectedPortal, what: str, dialect: Dialect | None = None, hours: int = 24) -> DeviceReading:
    """The last hours of one of the emulated controller's devices, by its place in the fleet."""
    place = {"old": 0, "log": 1, "meter": 2, "input": 3}[what]
    table = dialect or load_dialect()
    device = connected.controller.devices[place]
    channels = tuple(channel.id for channel in device.channels)
    wanted = ReadingRequest(device.id, connected.clock.now_ms() - hours * HOUR_MS, channels=channels)
    return await read_forward(connected.client(table), connected.account(), wanted, table.request)


async def test_master_data_is_typed_and_keeps_what_it_does_not_know(connected: ConnectedPortal) -> None:
    master = await connected.client().master_data(connected.account())
    old, log, meter, tank = master.devices
    assert (master.serial, master.application, master.time_zone) == ("123456792", "A376.1", "Europe/Copenhagen")
    assert (master.name, master.software_build, master.location["street"]) == (
        "Varme i kælderen",
        "2410",
        "Solitudevej",
    )
    assert [device.type for device in master.devices] == [
        DeviceType.LOG,
        DeviceType.LOG,
        DeviceType.MBUS,
        DeviceType.INPUT,
    ]
    assert (old.active, log.active) == (False, True)
    assert [channel.unit for channel in meter.channels] == ["MWh", "m3", "l/h", "W", "°C", "°C"]
    assert meter.more["mbusType"] == "KAM04"
    assert tank.more["configInputType"] == "0-10V ADC"


async def test_a_day_of_the_log_is_ninety_six_samples_per_channel(connected: ConnectedPortal) -> None:
    reading = await read(connected, "log")
    assert len(reading.samples) == MEANT["log"] * 6
    assert reading.complete
    assert list(reading.samples) == sorted(reading.samples, key=lambda s: (s.timestamp_ms, s.channel))


async def test_four_samples_of_the_log_share_one_received_time(connected: ConnectedPortal) -> None:
    reading = await read(connected, "log", hours=2)
    last = max(sample.received_ms for sample in reading.samples)
    assert len({sample.timestamp_ms for sample in reading.samples if sample.received_ms == last}) == 4


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_client_survives_every_shape_with_the_default_table(connected: ConnectedPortal, shape: str) -> None:
    plain = {what: (await read(connected, what)).samples for what in MEANT}
    connected.emulator.portals["dk"].speak(SHAPES[shape])
    master = await connected.client().master_data(connected.account())
    assert (master.software_build, master.location["zip"]) == ("2410", "6430")
    assert [device.active for device in master.devices] == [False, True, True, True]
    for what in MEANT:
        assert (await read(connected, what)).samples == plain[what]


@pytest.mark.parametrize("table", TABLES)
async def test_a_file_mends_every_wrong_name(connected: ConnectedPortal, table: str) -> None:
    plain = {what: (await read(connected, what)).samples for what in MEANT}
    overlay = TABLES[table]
    if table == "credentials in the path":
        overlay = {"paths": {call: path_of(call) for call in ("master_data", "readings")}}
    connected.emulator.portals["dk"].speak(Variant(dialect=overlay))
    dialect = mended(overlay)
    assert len((await connected.client(dialect).master_data(connected.account())).devices) == 4
    for what in MEANT:
        assert (await read(connected, what, dialect)).samples == plain[what]


def path_of(call: str) -> str:
    endpoint = {"master_data": "masterData", "readings": "readings"}[call]
    return f"/{endpoint}/v1/{{serverCode}}/{{eclSerial}}/{{eclAccessCode}}"


@pytest.mark.parametrize("table", ["other selectors", "pages counted from 0", "other fields"])
async def test_a_wrong_table_is_an_error_and_never_an_empty_answer(connected: ConnectedPortal, table: str) -> None:
    connected.emulator.portals["dk"].speak(Variant(dialect=TABLES[table]))
    with pytest.raises((AnswerUnreadableError, PortalRefusedError)):
        await read(connected, "log")


@pytest.mark.parametrize("empty", ["list", "null", "absent"])
async def test_nothing_there_is_no_error(connected: ConnectedPortal, empty: Any) -> None:
    connected.emulator.portals["dk"].speak(Variant(empty=empty))
    reading = await read(connected, "log", hours=-1)
    assert reading == DeviceReading(samples=(), unreadable=(), complete=True)


async def test_the_page_cap_leaves_the_rest_for_the_next_read(connected: ConnectedPortal) -> None:
    dialect = mended({"request": {"wanted_page_size": 10, "page_cap": 3}})
    reading = await read(connected, "log", dialect)
    assert (reading.complete, len(reading.samples)) == (False, 30 * 6)
    assert reading.samples[0].timestamp_ms == connected.clock.now_ms() - DAY_MS + 5 * 60_000


async def test_more_pages_than_the_cap_in_the_wrong_order_are_refused(connected: ConnectedPortal) -> None:
    connected.emulator.portals["dk"].speak(Variant(descending=True))
    dialect = mended({"request": {"wanted_page_size": 10, "page_cap": 3}})
    with pytest.raises(AnswerUnreadableError, match="not in order"):
        await read(connected, "log", dialect)


@pytest.mark.parametrize("variant", [Variant(page_size_maximum=10), Variant(page_size_maximum=10, descending=True)])
@pytest.mark.parametrize("totals", [True, False])
async def test_a_page_that_repeats_is_refused_though_the_clock_moves(
    connected: ConnectedPortal, variant: Variant, *, totals: bool
) -> None:
    """The portal reads the page's number under another name: every page is the first, and answered a second later."""
    connected.emulator.portals["dk"].speak(msgspec.structs.replace(variant, ignores_pages=True, totals=totals))
    table = load_dialect()

    async def a_second_later(_answer: PortalAnswer) -> None:
        connected.clock.advance(1)

    client = PortalClient(connected.session, table, connected.clock, a_second_later)
    wanted = ReadingRequest(connected.controller.devices[1].id, connected.clock.now_ms() - DAY_MS)
    with pytest.raises(AnswerUnreadableError, match="repeats"):
        await read_forward(client, connected.account(), wanted, table.request)


async def test_fewer_samples_than_the_portal_counts_are_refused() -> None:
    walk = PageWalk("1")
    page = ReadingsPage(
        samples=(Sample("d", "1", 1, 1, None, 1),), unreadable=(), total_count=3, total_pages=1, page_size=1
    )
    walk.add(page)
    with pytest.raises(AnswerUnreadableError, match="1 samples came where the portal counts 3"):
        walk.is_last(page)


async def test_a_read_by_time_ends_without_totals(connected: ConnectedPortal) -> None:
    """Paging by `from`: each read is one page, the last one has nothing but the moment asked from."""
    overlay = {"request": {"paging": "from"}}
    connected.emulator.portals["dk"].speak(Variant(dialect=overlay, totals=False, page_size_maximum=10))
    table, start, found = mended(overlay), connected.clock.now_ms() - DAY_MS, set()
    for _ in range(20):
        wanted = ReadingRequest(connected.controller.devices[1].id, start)
        reading = await read_forward(connected.client(table), connected.account(), wanted, table.request)
        found |= {sample.timestamp_ms for sample in reading.samples}
        if reading.complete:
            break
        start = reading.samples[-1].timestamp_ms
    assert (reading.complete, len(found)) == (True, 96)


FAULTS: dict[Kind, type[PortalError]] = {
    "slow": PortalUnreachableError,
    "cut": PortalUnreachableError,
    "http500": PortalUnreachableError,
    "http429": PortalBusyError,
    "html403": PortalUnreachableError,
    "http410": PortalMovedError,
    "http301": PortalMovedError,
    "wrong_echo": AnswerUnreadableError,
    "not_json": AnswerUnreadableError,
    "wrong_shape": AnswerUnreadableError,
}


@pytest.mark.parametrize("kind", FAULTS)
async def test_every_fault_is_an_error_that_names_controller_and_call(connected: ConnectedPortal, kind: Kind) -> None:
    connected.emulator.portals["dk"].faults.plan(PortalFault(kind=kind, retry_after=17))
    wanted, client = (
        ReadingRequest(connected.controller.devices[1].id, NOON_MS),
        connected.client(timeout_seconds=timeout_of(kind)),
    )
    with pytest.raises(FAULTS[kind], match="controller 123456792, readings") as raised:
        await read_forward(client, connected.account(), wanted, load_dialect().request)
    if isinstance(raised.value, PortalBusyError):
        assert raised.value.retry_after_seconds == 17


def timeout_of(kind: Kind) -> float:
    """Short only where it must run out: another fault is to be seen as itself on a busy machine too."""
    return 0.2 if kind == "slow" else 60


@pytest.mark.parametrize("reported", [Variant(), Variant(denied_by_http=True)], ids=["in the body", "by HTTP"])
@pytest.mark.parametrize(("server_code", "access_code"), [("Firma-B", "Kode5"), ("FirmaA", "Kode-6")])
async def test_a_wrong_code_is_denied(
    connected: ConnectedPortal, reported: Variant, server_code: str, access_code: str
) -> None:
    connected.emulator.portals["dk"].speak(reported)
    with pytest.raises(AccessDeniedError) as raised:
        await connected.client().master_data(connected.account(server_code, access_code))
    assert server_code not in str(raised.value)
    assert access_code not in str(raised.value)


async def test_the_other_portals_controllers_are_not_reachable(connected: ConnectedPortal) -> None:
    account = PortalAccount(
        connected.emulator.com_url, connected.controller.serial, fleet.SERVER_CODE, fleet.ACCESS_CODE
    )
    with pytest.raises(AccessDeniedError):
        await connected.client().master_data(account)


async def test_a_deleted_device_is_refused_and_gone_from_the_master_data(connected: ConnectedPortal) -> None:
    connected.controller.devices[2].deleted = True
    with pytest.raises(PortalRefusedError, match="UNKNOWN_DEVICE"):
        await read(connected, "meter")
    assert len((await connected.client().master_data(connected.account())).devices) == 3


async def test_every_answer_is_handed_over_before_it_is_read_whatever_it_is(connected: ConnectedPortal) -> None:
    connected.emulator.portals["dk"].faults.plan(PortalFault(kind="not_json", times=1))
    with pytest.raises(AnswerUnreadableError):
        await read(connected, "log")
    (answer,) = connected.answers.taken
    assert (answer.call, answer.http_status, answer.body) == ("readings", 200, b"<html>Vedligeholdelse</html>")
    assert answer.received_at_ms == connected.clock.now_ms()


async def test_codes_that_the_portal_echoes_are_redacted_out(connected: ConnectedPortal) -> None:
    with pytest.raises(AccessDeniedError):
        await connected.client().master_data(connected.account(access_code="Kode-6"))
    assert b"access code [redacted] does not open" in connected.answers.taken[0].body


async def test_both_ids_are_logged_and_no_secret_is(
    connected: ConnectedPortal, caplog: pytest.LogCaptureFixture
) -> None:
    """aiohttp, asyncio and all others speak at their loudest; every fault is provoked."""
    caplog.set_level(logging.DEBUG)
    with capture_logs() as lines:
        await read(connected, "log")
        for kind, expected in FAULTS.items():
            connected.emulator.portals["dk"].faults.plan(PortalFault(kind=kind, times=1, seconds=1))
            with pytest.raises(expected) as raised:
                await connected.client(timeout_seconds=timeout_of(kind)).master_data(connected.account())
            logging.getLogger("test").error("it failed", exc_info=raised.value)
        with pytest.raises(PortalUnreachableError) as unreachable:
            await nowhere(connected)
        logging.getLogger("test").error("it failed", exc_info=unreachable.value)
    answered = [entry for entry in lines if entry["event"] == "portal.answered"]
    assert answered[0]["client_request_id"]
    assert answered[0]["server_request_id"].startswith("dk-")
    reported = caplog.text + repr(lines) + repr(connected.account())
    assert "it failed" in reported
    for secret in (fleet.SERVER_CODE, fleet.ACCESS_CODE):
        assert secret not in reported


async def nowhere(connected: ConnectedPortal) -> None:
    async with aiohttp.ClientSession() as session:
        client = PortalClient(session, load_dialect(), connected.clock, connected.answers)
        await client.master_data(PortalAccount("http://127.0.0.1:9", "1", fleet.SERVER_CODE, fleet.ACCESS_CODE))
