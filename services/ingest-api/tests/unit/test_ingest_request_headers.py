"""What ingest-api makes of request headers."""

import pytest

from metering_ingest_api.domain import request_headers

pytestmark = pytest.mark.fast

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (TRACE, TRACE),
        (f" {TRACE} ", TRACE),
        ("cc" + TRACE[2:] + "-what-comes", "cc" + TRACE[2:]),
        (TRACE + "-more", None),
        ("ff" + TRACE[2:], None),
        (TRACE.upper(), None),
        ("00-" + "0" * 32 + TRACE[35:], None),
        (TRACE[:36] + "0" * 16 + "-01", None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_traceparent(text: str | None, kept: str | None) -> None:
    assert request_headers.traceparent(text) == kept


@pytest.mark.parametrize(
    ("preferences", "seconds"),
    [
        ([], None),
        (["wait=5"], 5),
        (["respond-async, wait=10"], 10),
        (["return=minimal", "Wait = 3"], 3),
        (['wait="4"'], 4),
        (["wait=60"], 10),
        (["wait=2; foo=bar"], 2),
        (["wait=1, wait=9"], 1),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait"], None),
        (["waiting=5"], None),
        (["wait=" + "9" * 5_000], None),
    ],
)
def test_prefer_wait(preferences: list[str], seconds: int | None) -> None:
    assert request_headers.wait_seconds(preferences) == seconds


@pytest.mark.parametrize(
    "content_type", [None, "application/json", 'Application/JSON; charset="UTF-8"', "application/json;charset=utf-8"]
)
def test_a_json_body(content_type: str | None) -> None:
    assert request_headers.is_json(content_type)


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=latin-1", "", "application/jsonx"])
def test_another_body(content_type: str) -> None:
    assert not request_headers.is_json(content_type)
