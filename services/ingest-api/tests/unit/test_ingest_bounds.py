"""What ingest-api refuses for a request as a whole: measures, values, span, rates, shares of what is in flight."""

import pytest

from metering_common.http.problems import Problem
from metering_common.http.token_buckets import Rate
from metering_ingest_api.domain import limits
from metering_ingest_api.domain.elements import Document, Element
from metering_ingest_api.domain.in_flight import InFlight, Lookups
from metering_ingest_api.domain.rates import GatewayRates, Rates

pytestmark = pytest.mark.fast


def elements(*timestamps: list[object], values: int = 0) -> Document:
    return Document([Element(str(number), part, b"") for number, part in enumerate(timestamps)], values)


def test_a_hundred_measures_in_all_devices_together() -> None:
    limits.check(elements([1] * 60, [1] * 40))
    with pytest.raises(Problem, match="101 measures") as caught:
        limits.check(elements([1] * 60, [1] * 41))
    assert (caught.value.status, caught.value.code) == (422, "too_many_measures")


def test_ten_thousand_values_in_all_measures_together() -> None:
    limits.check(elements([1], [2], values=10_000))
    with pytest.raises(Problem, match=r"10001 values in one request, at most 10000 .* split it") as caught:
        limits.check(elements([1], [2], values=10_001))
    assert (caught.value.status, caught.value.code) == (422, "too_many_values")


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
    return GatewayRates(Rates(Rate(2, 4), Rate(1_000, 3_000), Rate(50, 200)), capacity=3)


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
    buckets.charge_bytes(1, 8_000, 0.0)
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


def test_a_gateway_over_its_values_waits_until_they_are_paid_back() -> None:
    buckets = rates()
    buckets.take_request(1, 0.0)
    buckets.take_values(1, 450, 0.0)
    problem = refusal(buckets, 1.0)
    assert (problem.code, problem.headers["Retry-After"]) == ("rate_values", "5")
    assert problem.extra["limit"]["unit"] == "values"
    buckets.take_request(2, 1.0)
    buckets.take_request(1, 5.1)


def test_requests_begun_together_overdraw_the_values_once_and_the_bytes_before_costly_work_once() -> None:
    """All of them were begun while the buckets were full: only the first one's values are enqueued."""
    for take, code in ((GatewayRates.take_values, "rate_values"), (GatewayRates.take_bytes, "rate_bytes")):
        buckets = rates()
        for _ in range(3):
            buckets.take_request(1, 0.0)
        take(buckets, 1, 10_000, 0.0)
        with pytest.raises(Problem) as caught:
            take(buckets, 1, 1, 0.0)
        assert caught.value.code == code


def test_with_more_gateways_than_are_remembered_a_noisy_one_gets_its_burst_once() -> None:
    buckets = rates()
    for _ in range(4):
        buckets.take_request(1, 0.0)
    for gateway in range(2, 100):
        buckets.take_request(gateway, 0.0)
        refusal(buckets, 0.0)
    assert {len(kind) for kind in (buckets._requests, buckets._bytes, buckets._values)} <= {0, 3}


def test_bytes_in_flight_are_bounded_and_let_go() -> None:
    in_flight = InFlight(100, 100)
    first, second = in_flight.open(1), in_flight.open(2)
    first.hold(50)
    second.hold(25)
    with pytest.raises(Problem) as caught:
        second.hold(1)
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    assert caught.value.extra["reason"] == "bytes_in_flight"
    assert (in_flight.bytes, in_flight.requests) == (75, 2)
    first.let_go()
    second.hold(25)
    second.let_go()
    assert (in_flight.bytes, in_flight.requests) == (0, 0)


def fill(in_flight: InFlight, gateway: int, size: int) -> Problem:
    """Requests of one gateway, until one is refused."""
    for _ in range(10_000):
        try:
            in_flight.open(gateway).hold(size)
        except Problem as problem:
            return problem
    raise AssertionError("nothing was refused")


def test_one_gateway_cannot_fill_the_pod_with_bytes() -> None:
    in_flight = InFlight(64 * 1_048_576, 2_000)
    problem = fill(in_flight, 1, 374_000)
    assert (problem.status, problem.code, problem.headers["Retry-After"]) == (429, "share_in_flight", "1")
    assert problem.extra["limit"] == {"unit": "bytes", "inFlight": 32 * 1_048_576, "scope": "gateway, per pod"}
    for gateway in range(2, 32):
        in_flight.open(gateway).hold(200_000)


def test_one_gateway_cannot_fill_the_pod_with_requests() -> None:
    in_flight = InFlight(1_000, 100)
    problem = fill(in_flight, 1, 0)
    assert (problem.status, problem.code, problem.extra["limit"]["unit"]) == (429, "share_in_flight", "requests")
    assert in_flight.requests == 50
    for gateway in range(2, 27):
        in_flight.open(gateway)


def test_many_greedy_gateways_leave_room_for_one_more() -> None:
    in_flight = InFlight(64 * 1_048_576, 2_000)
    for gateway in range(10):
        fill(in_flight, gateway, 4_096)
    in_flight.open(99).hold(4_096)


def test_a_gateway_asks_for_one_result_after_the_other() -> None:
    lookups = Lookups()
    with lookups.one(1), lookups.one(2), pytest.raises(Problem) as caught, lookups.one(1):
        pass
    assert (caught.value.status, caught.value.code) == (429, "share_in_flight")
    with lookups.one(1):
        pass
