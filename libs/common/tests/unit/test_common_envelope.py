"""Envelopes travel unchanged; what cannot be read is dead by itself, and told apart from what a newer release wrote."""

from contextlib import suppress
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_common.contract.dead_letters import (
    METADATA,
    DeadLetterNote,
    dead_letter,
    decode_dead_letter_headers,
    encode_dead_letter_headers,
)
from metering_common.contract.envelope import (
    MAX_ERROR_BYTES,
    ConsumedRecord,
    MalformedHeadersError,
    PackedEntry,
    UnknownSchemaVersionError,
    UnreadableFrameError,
    decode_headers,
    encode_headers,
    envelope_headers,
    pack,
    read_envelope,
    repacked,
    unpack,
)
from metering_common.contract.metadata import (
    EntryMetadata,
    EntryPosition,
    KafkaHeaders,
    RecordPosition,
    RegistryVersion,
    decode_metadata,
    encode_metadata,
    stand_in_metadata,
)
from metering_common.kafka.envelopes import full_envelopes

pytestmark = pytest.mark.fast

int2, int4 = st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1)
numbers = st.integers(0, 2**62)
ascii_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
topic_names = st.text(st.sampled_from("abcxyz.-_019"), min_size=1, max_size=40)
positions = st.builds(RecordPosition, topic_names, numbers, numbers)
entry_positions = st.builds(EntryPosition, topic_names, numbers, numbers, numbers)
metadata = st.builds(
    EntryMetadata,
    batch_id=st.uuids(),
    item=int2,
    items=int2,
    provider_id=int4,
    gateway_id=st.none() | int4,
    device_id=int4,
    source=st.sampled_from(["http", "ecl", "replay"]),
    received_at_ms=st.integers(0, 253_402_300_799_999),
    rev=numbers,
    registry=st.builds(RegistryVersion, any_text, numbers),
    traceparent=st.none() | any_text,
    clock_doubtful=st.booleans(),
    replays=st.none() | entry_positions,
    stands_for=int4,
)
values = st.binary(max_size=60) | st.sampled_from([b"", b"\n", b'{"a":NaN}\n', b"\xff" * 300])
kafka_headers = st.lists(st.tuples(ascii_text, st.binary(max_size=20)), max_size=20)
SOME = EntryMetadata(
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
AT = RecordPosition("measurements.raw.v1", 3, 1234)


def record(*entries: PackedEntry) -> ConsumedRecord:
    return ConsumedRecord(AT, 5, None, pack(entries), envelope_headers(UUID(int=9), len(entries)))


@given(metadata)
def test_metadata_come_back_as_they_went(one: EntryMetadata) -> None:
    assert decode_metadata(encode_metadata(one)) == one
    assert b"\n" not in encode_metadata(one)


@pytest.mark.parametrize(
    "change",
    [{"item": 2**15}, {"deviceId": 2**31}, {"rev": -1}, {"receivedAtMs": 2**60}, {"source": "fax"}, {"batchId": "7"}],
)
def test_metadata_that_fit_no_table_are_refused(change: dict[str, object]) -> None:
    changed = msgspec.json.decode(encode_metadata(SOME)) | change
    with pytest.raises(msgspec.ValidationError):
        decode_metadata(msgspec.json.encode(changed))


@given(st.lists(st.tuples(metadata, values), min_size=1, max_size=6))
def test_an_envelope_comes_apart_into_what_it_was_made_of(contents: list[tuple[EntryMetadata, bytes]]) -> None:
    """Whatever an entry holds: the frame rests on lengths."""
    envelope = read_envelope(record(*[PackedEntry(encode_metadata(one), value) for one, value in contents]))
    assert [(entry.metadata, entry.packed.value, entry.fault) for entry in envelope.entries] == [
        (one, value, None) for one, value in contents
    ]
    assert (envelope.id, envelope.raw, envelope.readable) == (UUID(int=9), AT, True)
    assert [repacked(entry) for entry in envelope.entries] == [encode_metadata(one) for one, _ in contents]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_raise_one_kind_of_error(value: bytes) -> None:
    with suppress(UnreadableFrameError):
        assert unpack(value) == []


@given(st.lists(values, min_size=1, max_size=4), st.data())
def test_a_frame_cut_or_lengthened_anywhere_is_one_entry_that_stands_for_all(
    bodies: list[bytes], data: st.DataObject
) -> None:
    whole = record(*[PackedEntry(encode_metadata(SOME), body) for body in bodies])
    assert whole.value is not None
    cut = data.draw(st.integers(0, len(whole.value) - 1))
    for spoilt in (whole.value[:cut], whole.value + b"x"):
        envelope = read_envelope(whole._replace(value=spoilt))
        (entry,) = envelope.entries
        assert (envelope.readable, entry.packed.value) == (False, spoilt)
        assert entry.metadata == stand_in_metadata(EntryPosition.within(AT, 0), 5, len(bodies))


def test_stand_ins_differ_by_topic_place_and_index_and_are_the_same_every_time() -> None:
    places = [
        EntryPosition(topic, p, o, i) for topic in ("raw", "validated") for p in (0, 7) for o in (1, 2) for i in (0, 1)
    ]
    ids = {stand_in_metadata(at, 5).batch_id for at in places}
    assert len(ids) == 16
    assert {one.version for one in ids} == {8}
    assert ids == {stand_in_metadata(at, 9).batch_id for at in places}
    assert max(ids) < UUID(int=1 << 112), "where the prober looks for them"


def test_headers_come_back_as_they_went() -> None:
    for raw in (None, AT):
        headers = envelope_headers(UUID(int=9), 7, raw)
        assert encode_headers(decode_headers(headers)) == headers
    assert dict(headers)["raw"] == str(AT).encode()


@given(kafka_headers)
def test_arbitrary_headers_are_malformed_or_of_a_newer_release(headers: KafkaHeaders) -> None:
    with pytest.raises((MalformedHeadersError, UnknownSchemaVersionError)):
        decode_headers(headers)


@pytest.mark.parametrize("name", ["schema-version", "envelope-id", "entries"])
def test_a_missing_header_is_malformed(name: str) -> None:
    with pytest.raises(MalformedHeadersError, match=name):
        decode_headers([header for header in envelope_headers(UUID(int=9), 7) if header[0] != name])


def test_another_schema_version_is_not_taken_for_poison() -> None:
    newer = record(PackedEntry(b"{}", b""))._replace(headers=[("schema-version", b"2"), ("x", b"y")])
    with pytest.raises(UnknownSchemaVersionError, match="2 is unknown"):
        read_envelope(newer)


@pytest.mark.parametrize("version", [b"", b"one", b"-1", b"1.0"])
def test_a_schema_version_that_is_no_number_is_poison(version: bytes) -> None:
    with pytest.raises(MalformedHeadersError):
        decode_headers([("schema-version", version), *envelope_headers(UUID(int=9), 7)[1:]])


@given(positions, entry_positions)
def test_a_position_is_its_text(position: RecordPosition, entry: EntryPosition) -> None:
    assert RecordPosition.parse(str(position)) == position
    assert EntryPosition.parse(str(entry)) == entry


@pytest.mark.parametrize("text", ["", "topic", "topic/1", "topic/one/2", "topic/1/"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  int's and unpacking's own messages
        RecordPosition.parse(text)
    with pytest.raises(ValueError):  # noqa: PT011  as above
        EntryPosition.parse(f"{text}/x")


def test_entries_are_gathered_up_to_256_kib_and_a_larger_one_goes_alone() -> None:
    sizes = [100_000, 100_000, 100_000, 400_000, 1, 262_000]
    parts = list(full_envelopes(PackedEntry(b"", bytes(size)) for size in sizes))
    assert [[len(entry.value) for entry in part] for part in parts] == [
        [100_000, 100_000],
        [100_000],
        [400_000],
        [1, 262_000],
    ]


@given(kafka_headers, positions, st.none() | numbers, st.text(max_size=6_000), numbers)
def test_a_dead_letter_keeps_the_headers_and_tells_its_story(
    original: KafkaHeaders, source: RecordPosition, index: int | None, error: str, died_at_ms: int
) -> None:
    original = [header for header in original if not header[0].startswith("dead-")]
    note = DeadLetterNote(source=source, index=index, error=error, service="validator", died_at_ms=died_at_ms)
    headers, told = decode_dead_letter_headers(encode_dead_letter_headers(original, note))
    assert headers == original
    assert (told.source, told.index, told.service, told.died_at_ms) == (source, index, "validator", died_at_ms)
    assert len(told.error.encode()) <= MAX_ERROR_BYTES
    assert error.encode("utf-8", "replace").decode().startswith(told.error)


def test_a_dead_entry_is_its_bytes_and_metadata_and_a_dead_frame_the_whole_record() -> None:
    whole = record(PackedEntry(encode_metadata(SOME), b"one"), PackedEntry(b"[]", b"two"))
    letter = dead_letter(read_envelope(whole), 1, "why", "validator", 7)
    original, note = decode_dead_letter_headers(letter.headers)
    assert (letter.value, original) == (b"two", [*whole.headers, (METADATA, b"[]")])
    assert note.position == EntryPosition.within(AT, 1)
    spoilt = whole._replace(value=b"nothing")
    letter = dead_letter(read_envelope(spoilt), 0, "why", "validator", 7)
    original, note = decode_dead_letter_headers(letter.headers)
    assert (letter.value, original, note.position) == (b"nothing", whole.headers, AT)


def test_a_dead_letter_that_dies_again_tells_its_last_death() -> None:
    first = DeadLetterNote(source=RecordPosition("a", 0, 1), error="x", service="validator", died_at_ms=1)
    second = DeadLetterNote(source=RecordPosition("b", 0, 2), error="y", service="writer", died_at_ms=2)
    twice = encode_dead_letter_headers(encode_dead_letter_headers([("k", b"v")], first), second)
    assert decode_dead_letter_headers(twice) == ([("k", b"v")], second)


def test_a_record_that_never_died_is_no_dead_letter() -> None:
    with pytest.raises(MalformedHeadersError, match="not a dead letter"):
        decode_dead_letter_headers(envelope_headers(UUID(int=9), 7))
