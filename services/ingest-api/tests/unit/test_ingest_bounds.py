"""What ingest-api refuses for a request as a whole: measures, span, rates, bytes in flight."""

import pytest

from metering_ingest_api.domain import limits
from metering_ingest_api.domain.elements import Element
from metering_ingest_api.domain.in_flight import InFlight
from metering_ingest_api.domain.problems import Problem
from metering_ingest_api.domain.rates import GatewayRates, Rate

pytestmark = pytest.mark.fast


def elements(*timestamps: list[object]) -> list[Element]:
    return [Element(str(number), part, b"") for number, part in enumerate(timestamps)]


def test_a_hundred_measures_in_all_devices_together() -> None:
    limits.check(elements([1] * 60, [1] * 40))
    with pytest.raises(Problem, match="101 measures") as caught:
        limits.check(elements([1] * 60, [1] * 41))
    assert (caught.value.status, caught.value.code) == (422, "too_many_measures")


def test_a_day_ends_included_across_devices() -> None:
    limits.check(elements([0], [86_400]))
    with pytest.raises(Problem) as caught:
        limits.check(elements([50, 0], [86_401]))
    assert (caught.value.status, caught.value.code) == (422, "span_too_long")
    assert [fault.pointer for fault in caught.value.errors] == ["/0/measures/1/timestamp", "/1/measures/0/timestamp"]


@pytest.mark.parametrize("odd", [1_566_226_133_000, 10**11, 1e9, "0", None, True, [], float("nan"), 10**400])
def test_timestamps_that_the_rules_refuse_alone_do_not_count_for_the_span(odd: object) -> None:
    limits.check(elements([odd, 1_566_226_133]))


def test_the_last_readable_timestamp_counts() -> None:
    with pytest.raises(Problem):
        limits.check(elements([10**11 - 1, 1]))


def rates() -> GatewayRates:
    return GatewayRates(Rate(2, 4), Rate(1_000, 3_000), capacity=3)


def refusal(buckets: GatewayRates, now: float, gateway: int = 1) -> Problem:
    with pytest.raises(Problem) as caught:
        buckets.take_request(gateway, now)
    assert caught.value.status == 429
    return caught.value


def test_a_gateway_over_its_requests_is_told_which_limit_and_when() -> None:
    buckets = rates()
    for _ in range(4):
        buckets.take_request(1, 100.0)
    problem = refusal(buckets, 100.0)
    assert (problem.code, problem.headers["Retry-After"]) == ("rate_requests", "1")
    assert problem.extra["limit"] == {"unit": "requests", "perSecond": 2, "burst": 4, "scope": "gateway, per pod"}
    buckets.take_request(2, 100.0)
    buckets.take_request(1, 100.5)
    refusal(buckets, 100.5)


def test_a_gateway_over_its_bytes_waits_until_they_are_paid_back() -> None:
    buckets = rates()
    buckets.take_request(1, 0.0)
    buckets.take_bytes(1, 8_000, 0.0)
    problem = refusal(buckets, 1.0)
    assert (problem.code, problem.headers["Retry-After"]) == ("rate_bytes", "5")
    buckets.take_request(1, 5.1)


def test_a_refused_request_costs_nothing() -> None:
    buckets = rates()
    for _ in range(4):
        buckets.take_request(1, 0.0)
    for _ in range(10):
        refusal(buckets, 0.0)
    buckets.take_request(1, 0.5)


def test_the_memory_of_gateways_is_bounded() -> None:
    buckets = rates()
    for gateway in range(100):
        buckets.take_request(gateway, 0.0)
    assert len(buckets._buckets) == 3


def test_bytes_in_flight_are_bounded_and_let_go() -> None:
    in_flight = InFlight(100)
    first, second = in_flight.open(), in_flight.open()
    first.hold(60)
    with pytest.raises(Problem) as caught:
        second.hold(41)
    assert (caught.value.status, caught.value.extra["reason"]) == (503, "in_flight")
    second.hold(40)
    first.let_go()
    second.let_go()
    second.let_go()
    assert in_flight.bytes == 0
