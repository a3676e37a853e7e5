"""Headers travel unchanged, and what cannot be read is told apart from what a newer release wrote."""

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_common.contract.metadata import (
    MAX_ERROR_BYTES,
    DeadLetterNote,
    KafkaHeaders,
    MalformedHeadersError,
    RecordHeaders,
    RecordPosition,
    RegistryVersion,
    UnknownSchemaVersionError,
    decode_dead_letter_headers,
    decode_headers,
    encode_dead_letter_headers,
    encode_headers,
)

pytestmark = pytest.mark.fast

numbers = st.integers(0, 2**62)
ascii_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
topic_names = st.text(st.sampled_from("abcxyz.-_019"), min_size=1, max_size=40)
positions = st.builds(RecordPosition, topic_names, numbers, numbers)
record_headers = st.builds(
    RecordHeaders,
    batch_id=st.uuids(),
    item=numbers,
    items=numbers,
    provider_id=numbers,
    gateway_id=st.none() | numbers,
    device_id=numbers,
    source=st.sampled_from(["http", "ecl", "replay"]),
    received_at_ms=numbers,
    rev=numbers,
    registry=st.builds(RegistryVersion, ascii_text, numbers),
    traceparent=st.none() | ascii_text,
    clock_doubtful=st.booleans(),
    replays=st.none() | positions,
)
kafka_headers = st.lists(st.tuples(ascii_text, st.binary(max_size=20)), max_size=20)
SOME = RecordHeaders(
    batch_id=UUID(int=7),
    item=0,
    items=1,
    provider_id=1,
    gateway_id=2,
    device_id=29,
    source="http",
    received_at_ms=1,
    rev=1,
    registry=RegistryVersion("epoch", 4),
)


@given(record_headers)
def test_headers_come_back_as_they_went(headers: RecordHeaders) -> None:
    assert decode_headers(encode_headers(headers)) == headers


@given(kafka_headers)
def test_arbitrary_headers_are_malformed_or_of_a_newer_release(headers: KafkaHeaders) -> None:
    with pytest.raises((MalformedHeadersError, UnknownSchemaVersionError)):
        decode_headers(headers)


@given(record_headers, st.data())
def test_headers_with_one_spoilt_value_are_malformed_or_readable(headers: RecordHeaders, data: st.DataObject) -> None:
    encoded = encode_headers(headers)
    spoilt = data.draw(st.integers(1, len(encoded) - 1))  # the schema version is not the one that is spoilt
    encoded[spoilt] = (encoded[spoilt][0], data.draw(st.binary(max_size=10)))
    with suppress(MalformedHeadersError):
        decode_headers(encoded)


@pytest.mark.parametrize("name", ["batch-id", "item", "items", "provider-id", "device-id", "source", "rev"])
def test_a_missing_header_is_malformed(name: str) -> None:
    with pytest.raises(MalformedHeadersError, match=name):
        decode_headers([header for header in encode_headers(SOME) if header[0] != name])


def test_another_schema_version_is_not_taken_for_poison() -> None:
    headers = [("schema-version", b"2"), *encode_headers(SOME)[1:]]
    with pytest.raises(UnknownSchemaVersionError, match="2 is unknown"):
        decode_headers(headers)


@pytest.mark.parametrize("version", [b"", b"one", b"-1", b"1.0"])
def test_a_schema_version_that_is_no_number_is_poison(version: bytes) -> None:
    with pytest.raises(MalformedHeadersError):
        decode_headers([("schema-version", version), *encode_headers(SOME)[1:]])


@given(positions)
def test_a_position_is_its_text(position: RecordPosition) -> None:
    assert RecordPosition.parse(str(position)) == position


@pytest.mark.parametrize("text", ["", "topic", "topic/1", "topic/one/2", "topic/1/"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  int's and unpacking's own messages
        RecordPosition.parse(text)


@given(kafka_headers, positions, st.text(max_size=6_000), numbers)
def test_a_dead_letter_keeps_the_headers_and_tells_its_story(
    original: KafkaHeaders, source: RecordPosition, error: str, died_at_ms: int
) -> None:
    original = [header for header in original if not header[0].startswith("dead-")]
    note = DeadLetterNote(source=source, error=error, service="validator", died_at_ms=died_at_ms)
    headers, told = decode_dead_letter_headers(encode_dead_letter_headers(original, note))
    assert headers == original
    assert (told.source, told.service, told.died_at_ms) == (source, "validator", died_at_ms)
    assert len(told.error.encode()) <= MAX_ERROR_BYTES
    assert error.encode("utf-8", "replace").decode().startswith(told.error)


def test_a_dead_letter_that_dies_again_tells_its_last_death() -> None:
    first = DeadLetterNote(source=RecordPosition("a", 0, 1), error="x", service="validator", died_at_ms=1)
    second = DeadLetterNote(source=RecordPosition("b", 0, 2), error="y", service="writer", died_at_ms=2)
    twice = encode_dead_letter_headers(encode_dead_letter_headers([("k", b"v")], first), second)
    assert decode_dead_letter_headers(twice) == ([("k", b"v")], second)


def test_a_record_that_never_died_is_no_dead_letter() -> None:
    with pytest.raises(MalformedHeadersError, match="not a dead letter"):
        decode_dead_letter_headers(encode_headers(SOME))
