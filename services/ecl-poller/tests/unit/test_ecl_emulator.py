"""The emulator does what the guide says the portal does: what the poller is tested against must itself hold."""

from typing import Any

import pytest
from yarl import URL

from metering_ecl_poller.domain.portal.times import to_portal_time
from tests.emulators.ecl_portal import fleet, world
from tests.emulators.ecl_portal.connected import DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS, ConnectedPortal

pytestmark = pytest.mark.fast

CODES = f"serverCode={fleet.SERVER_CODE}&eclAccessCode={fleet.ACCESS_CODE}"


async def ask(connected: ConnectedPortal, path: str, query: str) -> dict[str, Any]:
    url = URL(f"{connected.emulator.dk_url}{path}?{CODES}&{query}", encoded=True)
    async with connected.session.get(url) as answer:
        document: dict[str, Any] = await answer.json()
        return document


async def readings(connected: ConnectedPortal, place: int, query: str) -> dict[str, Any]:
    device = connected.controller.devices[place].id.replace("-", "%2D")
    return await ask(connected, f"/readings/v1/{connected.controller.serial}", f"externalDeviceId={device}&{query}")


async def control(connected: ConnectedPortal, path: str, body: dict[str, Any]) -> None:
    async with connected.session.post(f"{connected.emulator.control_url}{path}", json=body) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("stamp", ["2026%2D03%2D11T12:00:00.0+01:00", "2026-03-11T12:00:00.0Z", "yesterday"])
async def test_a_bare_plus_or_hyphen_or_nonsense_is_a_bad_request(connected: ConnectedPortal, stamp: str) -> None:
    assert (await readings(connected, 1, f"from={stamp}"))["statusCode"] == "BAD_REQUEST"


async def test_another_version_is_unknown(connected: ConnectedPortal) -> None:
    assert (await ask(connected, "/readings/v2/1", "a=b"))["statusCode"] == "UNKNOWN_VERSION"


async def test_the_latest_values_are_asked_for_backward_from_now(connected: ConnectedPortal) -> None:
    now = to_portal_time(connected.clock.now_ms()).replace("-", "%2D")
    answer = await readings(connected, 1, f"from={now}&direction=backward&pageSize=1")
    (sample,) = answer["data"][0]["readings"]
    assert sample["timestamp"] == "2026-03-11T12:00:00.0Z"
    assert answer["totalPages"] > 1


async def test_too_large_a_page_is_clamped_not_rejected(connected: ConnectedPortal) -> None:
    since = to_portal_time(NOON_MS - 11 * DAY_MS).replace("-", "%2D")
    answer = await readings(connected, 1, f"from={since}&pageSize=1000000")
    assert (answer["pageSize"], len(answer["data"][0]["readings"])) == (1_000, 1_000)


async def test_the_control_endpoint_moves_the_clock_and_makes_the_guides_outage(connected: ConnectedPortal) -> None:
    """After the outage the log has it all under one received time; the meter's current values are gone for good."""
    serial = connected.controller.serial
    await control(connected, f"/controllers/{serial}", {"outage": [NOON_MS + 30 * MINUTE_MS, NOON_MS + 5 * HOUR_MS]})
    await control(connected, "/clock", {"advanceSeconds": 6 * 3_600})
    async with connected.session.get(f"{connected.emulator.control_url}/controllers/{serial}/truth") as answer:
        truth = await answer.json()
    _, log, meter, _ = connected.controller.devices
    late = [received for stamp, received, _ in truth[log.id]["samples"] if NOON_MS < stamp <= NOON_MS + 5 * HOUR_MS]
    assert (len(late), len(set(late))) == (20, 1)
    assert truth[log.id]["gaps"] == []
    ((before, after),) = truth[meter.id]["gaps"]
    assert after - before == 5 * HOUR_MS


def test_the_guides_wrong_clock(connected: ConnectedPortal) -> None:
    """The controller shows 05:15; zone UTC+02:00 and summer time make 02:15 Z of it."""
    controller = connected.controller
    controller.clock_errors.append((0, -HOUR_MS))
    rows = world.rows(controller, controller.devices[1], connected.clock.now_ms(), NOON_MS - 3 * HOUR_MS)
    assert {row.stamp_ms - row.true_ms for row in rows} == {-HOUR_MS}
