"""What every API makes of a request id and of `Accept`."""

import re

import pytest

from metering_common.http.request_headers import accepts_json, request_id

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("text", ["a", "6f1c2c7e-6a0f", "x" * 64, "A.b_c-9"])
def test_a_plain_request_id_is_kept(text: str) -> None:
    assert request_id({"X-Request-Id": text}) == text


@pytest.mark.parametrize("text", [None, "", "x" * 65, "a b", "a\tb", "ñ", '"', "-a", "a\x00"])
def test_an_odd_request_id_is_not(text: str | None) -> None:
    headers = {} if text is None else {"X-Request-Id": text}
    assert re.fullmatch("[0-9a-f]{32}", request_id(headers))
    assert request_id(headers) != request_id(headers)


@pytest.mark.parametrize(
    "accept",
    [None, "", " ", "*/*", "application/json", "text/html, application/*;q=0.1", "APPLICATION/JSON; charset=utf-8"],
)
def test_json_is_accepted(accept: str | None) -> None:
    assert accepts_json(accept)


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml, text/*", "application/json;q=0, */*", "application/json; q=0.000", ","]
)
def test_json_is_not_accepted(accept: str) -> None:
    assert not accepts_json(accept)
