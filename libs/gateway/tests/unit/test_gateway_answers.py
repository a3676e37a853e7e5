"""Answers: only 201 delivers, only 400, 413 and 422 are about a measure, nothing else loses one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_gateway.domain.answers import (
    AT_FAULT,
    NO_ANSWER,
    Answer,
    Delivered,
    Halve,
    Later,
    Refuse,
    Renew,
    TakeOut,
    decide,
    retry_after_seconds,
)
from metering_gateway.domain.pace import BackOff

pytestmark = pytest.mark.fast

DEVICES = ["29", "30", "31"]


def unknown(*pointers: object) -> Answer:
    document = {"code": "devices_unknown", "errors": [{"pointer": pointer} for pointer in pointers]}
    return Answer(422, json.dumps(document))


@given(st.integers(0, 999), st.text(), st.integers(1, 100))
def test_only_201_lets_a_measure_be_deleted_and_only_three_answers_blame_one(
    status: int, text: str, count: int
) -> None:
    decision = decide(Answer(status, text), count, DEVICES)
    assert isinstance(decision, Delivered) == (status == 201)
    assert isinstance(decision, Halve | Refuse | TakeOut) == (status in AT_FAULT)
    if status in AT_FAULT:
        assert decision == (Refuse() if count == 1 else Halve())


@pytest.mark.parametrize("status", [NO_ANSWER, 200, 302, 403, 404, 405, 408, 415, 429, 500, 502, 503, 504])
def test_what_says_nothing_about_the_measures_is_sent_again(status: int) -> None:
    assert decide(Answer(status), 1, DEVICES) == Later(None)


def test_401_is_answered_by_a_refresh() -> None:
    assert decide(Answer(401), 5, DEVICES) == Renew()


def test_named_devices_are_taken_out_by_either_form_of_pointer() -> None:
    assert decide(unknown("/2/deviceNumber", "/0"), 9, DEVICES) == TakeOut(("29", "31"))


def test_named_devices_are_taken_out_by_their_numbers_too() -> None:
    document = {"code": "devices_unknown", "deviceNumbers": ["31", "99", 7]}
    assert decide(Answer(422, json.dumps(document)), 9, DEVICES) == TakeOut(("31",))


@pytest.mark.parametrize("pointer", [None, 7, "", "/9", "/x", "/-1", "//0", "/1x"])
def test_a_pointer_to_nothing_falls_back_to_halving(pointer: object) -> None:
    assert decide(unknown(pointer), 9, DEVICES) == Halve()


def test_unnamed_it_can_only_be_the_one_device_of_the_request() -> None:
    assert decide(Answer(422, '{"code": "devices_unknown"}'), 2, ["29"]) == TakeOut(("29",))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "99999999999999999999"}, 3600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "Wed, 11 Mar 2026 15:05:48 GMT", "date": "Wed, 11 Mar 2026 15:05:18 GMT"}, 30.0),
        ({"retry-after": "Wed, 11 Mar 2026 15:05:18 GMT", "date": "Wed, 11 Mar 2026 15:05:48 GMT"}, 0.0),
        ({"retry-after": "Wed, 11 Mar 2026 15:05:48 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


@given(st.integers(1, 1000), st.floats(0, 3600), st.floats(0, 1, exclude_max=True))
def test_retry_after_is_never_undercut(failures: int, asked: float, jitter: float) -> None:
    assert BackOff().delay(failures, asked, jitter) >= asked


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_the_back_off_grows_to_its_limit_and_not_beyond(failures: int, jitter: float) -> None:
    back_off = BackOff(first_seconds=1, longest_seconds=60)
    delay = back_off.delay(failures, None, jitter)
    assert min(60, 2.0 ** min(failures - 1, 9)) / 2 <= delay <= 60


def test_a_summary_is_one_line_whatever_came() -> None:
    assert Answer(NO_ANSWER, "Server disconnected").summary() == "no answer: Server disconnected"
    assert Answer(502, "<html>\n bad\n gateway</html>").summary() == "502: <html> bad gateway</html>"
    assert Answer(422, '{"code": "span", "detail": "over a day"}').summary() == "422 span: over a day"
    assert Answer(500, "[" * 100_000).document() == {}
