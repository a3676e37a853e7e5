"""What nobody has mapped waits with its place; what cannot be accepted yet waits too; a doubted sample beats none."""

from decimal import Decimal

import pytest

from metering_ecl_poller.domain import gaps, holds, poll_result, trust, window
from metering_ecl_poller.domain.gaps import Gap, GapReason
from metering_ecl_poller.domain.holds import ChannelHold
from metering_ecl_poller.domain.job import PollJob
from metering_ecl_poller.domain.mapping import NO_ENTRY, ChannelMapping, PortalDeviceMapping, plan_routes
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.errors import (
    AccessDeniedError,
    AnswerUnreadableError,
    PortalError,
    PortalUnreachableError,
)
from metering_ecl_poller.domain.portal.models import (
    DeviceType,
    InputSettings,
    PortalChannel,
    PortalDevice,
    Sample,
    Value,
)
from metering_ecl_poller.domain.trust import TrustedSpan
from metering_ecl_poller.domain.window import Cursor
from tests.emulators.ecl_portal.connected import DAY_MS, HOUR_MS, NOON_MS

pytestmark = pytest.mark.fast

QUARTER_MS = 900_000


def device(*channels: str, settings: InputSettings | None = None) -> PortalDevice:
    declared = tuple(PortalChannel(id=one, name=one, unit="bar") for one in channels)
    return PortalDevice(
        id="d", type=DeviceType.INPUT, name="d", active=True, last_read_ms=None,
        input=settings or InputSettings(), channels=declared, more={},
    )  # fmt: skip


def mapped(*entries: tuple[str, str | None]) -> PortalDeviceMapping:
    channels = tuple(
        ChannelMapping(external_channel_id=channel, portal_unit="bar", sensor=sensor, sensor_unit="bar")
        for channel, sensor in entries
    )
    return PortalDeviceMapping(external_device_id="d", provider=1, device_number="n", channels=channels)


def sample(stamp_ms: int, received_ms: int, answered_ms: int = NOON_MS + DAY_MS, channel: str = "1") -> Sample:
    return Sample("d", channel, stamp_ms, received_ms, Decimal(1), answered_ms)


class TestRoutes:
    def test_a_device_without_an_entry_is_held_as_a_whole(self) -> None:
        routes = plan_routes(None, device("1", "2"))
        assert routes.held_among(["1", "2"]) == {"1": NO_ENTRY, "2": NO_ENTRY}
        assert routes.problem([]) == NO_ENTRY

    def test_a_channel_without_an_entry_is_held_and_null_is_not(self) -> None:
        routes = plan_routes(mapped(("1", "P"), ("2", None)), device("1", "2", "3"))
        assert routes.held_among(["1", "2", "3"]) == {"3": NO_ENTRY}
        assert routes.problem(["3"]) == f"channel 3: {NO_ENTRY}"
        assert routes.problem([]) is None


class TestHolds:
    def test_the_place_of_a_channel_is_kept_while_it_is_read_on(self) -> None:
        first = holds.updated({}, {"1": "why"}, [], {"1": Cursor(NOON_MS, NOON_MS)}, NOON_MS)
        later = holds.updated(
            first, {"1": "why"}, [], {"1": Cursor(NOON_MS + DAY_MS, NOON_MS + DAY_MS)}, NOON_MS + DAY_MS
        )
        assert later == first == {"1": ChannelHold("why", NOON_MS, NOON_MS)}

    def test_a_channel_never_published_is_read_from_the_devices_beginning(self) -> None:
        assert holds.updated({}, {"1": "why"}, [], {}, NOON_MS)["1"].resume_ms is None

    def test_a_backlog_stays_until_it_is_read_and_what_is_not_wanted_is_forgotten(self) -> None:
        held = {one: ChannelHold("why", NOON_MS, NOON_MS) for one in ("1", "2")}
        taken = holds.updated(held, {}, ["1"], {}, NOON_MS)
        assert holds.backlog(taken, ["1"]).keys() == {"1"}
        assert holds.resumed(taken, ["1"], NOON_MS + HOUR_MS)["1"].resume_ms == NOON_MS + HOUR_MS
        assert holds.resumed(taken, ["1"], None) == {}

    def test_late_samples_of_a_held_channel_move_its_place_back(self) -> None:
        held = {"1": ChannelHold("why", NOON_MS, NOON_MS)}
        early = sample(NOON_MS - DAY_MS, NOON_MS)
        assert holds.behind(held, [early], ["1"])["1"].resume_ms == NOON_MS - DAY_MS
        assert holds.behind(held, [early], []) == held


class TestTrust:
    def test_what_is_stamped_ahead_of_its_answer_waits(self) -> None:
        ahead, right = sample(NOON_MS + 1, NOON_MS, NOON_MS), sample(NOON_MS, NOON_MS, NOON_MS)
        found = trust.publishable([ahead, right], frozenset(), (), QUARTER_MS)
        assert (found.samples, found.waiting, found.lost) == ((right,), (ahead,), ())

    @pytest.mark.parametrize("turned", [False, True])
    def test_of_two_samples_with_one_stamp_the_trusted_one_stays(self, *, turned: bool) -> None:
        trusted, doubted = sample(NOON_MS, NOON_MS), sample(NOON_MS, NOON_MS + HOUR_MS)
        samples = [doubted, trusted] if turned else [trusted, doubted]
        found = trust.publishable(samples, frozenset({(NOON_MS + HOUR_MS, NOON_MS)}), (), QUARTER_MS)
        assert (found.samples, found.lost) == ((trusted,), (doubted,))

    def test_of_two_alike_the_one_received_later_stays(self) -> None:
        first, second = sample(NOON_MS, NOON_MS), sample(NOON_MS, NOON_MS + HOUR_MS)
        assert trust.publishable([second, first], frozenset(), (), QUARTER_MS).samples == (second,)

    def test_a_doubted_sample_gives_way_to_a_trusted_one_of_an_earlier_read(self) -> None:
        spans = trust.extended(
            (), [sample(NOON_MS + n * QUARTER_MS, NOON_MS) for n in range(5)], frozenset(), QUARTER_MS
        )
        assert spans == (TrustedSpan(NOON_MS, NOON_MS + HOUR_MS),)
        stamps = [NOON_MS + QUARTER_MS, NOON_MS + QUARTER_MS + 7_000, NOON_MS + 2 * HOUR_MS]
        doubted = [sample(stamp, NOON_MS + 3 * HOUR_MS) for stamp in stamps]
        found = trust.publishable(
            doubted, frozenset((one.received_ms, one.timestamp_ms) for one in doubted), spans, QUARTER_MS
        )
        assert [one.timestamp_ms for one in found.lost] == stamps[:1]

    def test_a_hole_divides_the_spans(self) -> None:
        spans = trust.extended(
            (), [sample(NOON_MS, NOON_MS), sample(NOON_MS + HOUR_MS, NOON_MS)], frozenset(), QUARTER_MS
        )
        assert len(spans) == 2
        middle = [sample(NOON_MS + n * QUARTER_MS, NOON_MS) for n in (1, 2, 3)]
        assert trust.extended(spans, middle, frozenset(), QUARTER_MS) == (TrustedSpan(NOON_MS, NOON_MS + HOUR_MS),)


class TestOpenGaps:
    GAP = Gap("1", NOON_MS, NOON_MS + HOUR_MS, GapReason.NOT_LOGGED)

    def test_young_gaps_are_read_again_as_one_and_old_ones_are_not(self) -> None:
        second = Gap("2", NOON_MS - QUARTER_MS, NOON_MS + QUARTER_MS, GapReason.NOT_LOGGED)
        assert gaps.spans_to_read_again([self.GAP, second], NOON_MS + DAY_MS, 10 * DAY_MS) == [
            (NOON_MS - QUARTER_MS, NOON_MS + HOUR_MS)
        ]
        assert gaps.spans_to_read_again([self.GAP], NOON_MS + 11 * DAY_MS, 10 * DAY_MS) == []

    def test_only_a_sample_inside_its_channels_gap_fills_it(self) -> None:
        assert gaps.fills_any([sample(NOON_MS + 1, NOON_MS)], [self.GAP])
        assert not gaps.fills_any([sample(NOON_MS, NOON_MS), sample(NOON_MS + 1, NOON_MS, channel="2")], [self.GAP])

    def test_a_lost_sample_is_a_gap_of_a_second(self) -> None:
        (gap,) = gaps.repeated_stamps([sample(NOON_MS, NOON_MS), sample(NOON_MS, NOON_MS + 1)])
        assert gap == Gap("1", NOON_MS, NOON_MS + 1_000, GapReason.STAMP_REPEATED)


class TestInputs:
    """Configurable inputs give values in their unit (guide, section 8.2.2)."""

    def number(self, raw: Value, settings: InputSettings) -> Value:
        routes = plan_routes(mapped(("1", "P")), device("1", settings=settings)).routes
        return routes["1"].number(raw)

    @pytest.mark.parametrize(("volts", "bar"), [("0", "-1"), ("10", "4"), ("4.5", "1.25")])
    def test_volts_are_values_between_the_defined_ends(self, volts: str, bar: str) -> None:
        settings = InputSettings(low=Decimal(-1), high=Decimal(4))
        assert self.number(Decimal(volts), settings) == Decimal(bar)

    @pytest.mark.parametrize(("raw", "wanted"), [("Lukket", 1), ("åben", 0), (True, 1), (Decimal(1), 1), ("?", "?")])
    def test_switches_are_one_when_closed_and_zero_when_open(self, raw: Value, wanted: object) -> None:
        assert self.number(raw, InputSettings(closed="Lukket", opened="Åben")) == wanted

    def test_pulses_frequencies_and_unknown_types_stay_as_they_are(self) -> None:
        assert self.number(Decimal("7.25"), InputSettings()) == Decimal("7.25")


def job(attempts: int = 0) -> PollJob:
    return PollJob(
        account=PortalAccount("dk", "1", "s", "a"), lease=1, attempts=attempts, state="polled", clock_state=None,
        clock_offset_ms=None, mapping=None, mapping_version=0,
    )  # fmt: skip


class TestRetries:
    def test_a_denied_controller_is_tried_daily(self) -> None:
        result = poll_result.failed(job(), AccessDeniedError("1", "masterData", "no"), NOON_MS)
        assert (result.state, result.next_due_ms) == ("denied", NOON_MS + DAY_MS)

    @pytest.mark.parametrize(
        ("error", "hourly"),
        [
            (PortalUnreachableError("1", "readings", "500", answered=True), True),
            (AnswerUnreadableError("1", "readings", "?"), True),
            (PortalUnreachableError("1", "readings", "no answer"), False),
        ],
    )
    def test_what_is_answered_and_fails_waits_for_its_hour_after_some_retries(
        self, error: PortalError, *, hourly: bool
    ) -> None:
        half_past = NOON_MS + HOUR_MS // 2
        hour = poll_result.succeeded(job(), half_past).next_due_ms
        assert poll_result.failed(job(1), error, half_past).next_due_ms < half_past + 5 * 60_000
        assert (poll_result.failed(job(9), error, half_past).next_due_ms == hour) == hourly


def test_cursors_of_held_channels_move_on_as_they_are_read() -> None:
    assert window.advanced([sample(NOON_MS, NOON_MS)], {}) == {"1": Cursor(NOON_MS, NOON_MS)}
