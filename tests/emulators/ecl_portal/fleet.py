"""Ready-made controllers: a log, a heat meter on M-Bus and a configurable input each, on either portal."""

from uuid import NAMESPACE_URL, uuid5

from tests.emulators.ecl_portal.world import DAY_MS, Channel, Controller, Device

SERVER_CODE = "FirmaA"
ACCESS_CODE = "Kode5"
FIRST_SERIAL = 123_456_792
HISTORY_MS = 12 * DAY_MS

LOG_CHANNELS = (
    Channel("1", "S1 Outdoor temperature", "°C", "outdoor"),
    Channel("2", "S2 Room temperature", "°C", "room"),
    Channel("3", "S3 Flow temperature", "°C", "flow"),
    Channel("4", "S4 Hot-water temperature", "°C", "hot_water"),
    Channel("5", "S5 Return temperature", "°C", "return"),
    Channel("6", "Flow reference", "°C", "flow_reference"),
)
METER_CHANNELS = (
    Channel("energy", "Energy", "MWh", "energy"),
    Channel("volume", "Volume", "m3", "volume"),
    Channel("flow", "Flow", "l/h", "flow_rate"),
    Channel("power", "Power", "W", "power"),
    Channel("t1", "Flow temperature", "°C", "flow"),
    Channel("t2", "Return temperature", "°C", "return"),
)
INPUT_CHANNELS = (Channel("p", "Pressure", "bar", "pressure"),)


def controllers(
    portal: str, count: int, now_ms: int, first_serial: int = FIRST_SERIAL, history_ms: int = HISTORY_MS
) -> list[Controller]:
    """Controllers with serials counted up from the first; each has its own device ids, the same from run to run."""
    return [controller(portal, str(first_serial + number), now_ms, history_ms) for number in range(count)]


def controller(portal: str, serial: str, now_ms: int, history_ms: int) -> Controller:
    """With an old log, no longer active, beside the active one: the application was changed early in its history."""
    created = now_ms - history_ms
    changed = created + history_ms // 12
    log = Device(_id(serial, "log"), "EclLogDevice", "EclLog", LOG_CHANNELS, created_ms=changed)
    log.extra["logAppName"] = "A376.1 example a"
    old = Device(_id(serial, "old-log"), "EclLogDevice", "EclLog", LOG_CHANNELS[:2], active=False, created_ms=created)
    old.extra["logAppName"] = "A367.1 example e"
    old.ended_ms = changed
    meter = Device(_id(serial, "meter"), "EclMBusDevice", "Main meter house", METER_CHANNELS, created_ms=created)
    meter.extra |= {"mbusAddress": 1, "mbusSerialNumber": f"{serial}0", "mbusType": "KAM04"}
    tank = Device(_id(serial, "input"), "EclConfigInputDevice", "Tank pressure", INPUT_CHANNELS, created_ms=created)
    tank.extra |= {"configInputType": "0-10V ADC", "configInputDefinedMaxValue": 10, "configInputDefinedMinValue": 0}
    return Controller(serial, portal, [old, log, meter, tank], access_codes={ACCESS_CODE: True})


def _id(serial: str, what: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"{serial}/{what}"))
