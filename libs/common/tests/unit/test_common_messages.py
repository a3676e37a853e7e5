"""Validated records, outcomes and registry documents come back as they went; what is none of them is refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_common.contract.codec import decode_outcome, decode_validated, encode
from metering_common.contract.messages import (
    Counts,
    Finding,
    FindingKind,
    NotTaken,
    Outcome,
    RawValue,
    Refusal,
    Rows,
    Status,
    Validated,
)
from metering_common.contract.metadata import RecordPosition
from metering_common.registry.documents import (
    Device,
    Gateway,
    KeyState,
    Meta,
    MeterExchange,
    Provider,
    RegistryDocument,
    Sensor,
    SensorKind,
    SigningKey,
    decode_document,
    document_key,
    encode_document,
)

pytestmark = pytest.mark.fast

numbers = st.integers(0, 2**53)
small = st.integers(0, 1_000)
finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
counts = st.builds(Counts, measures=small, values=small, accepted=small, refused=small, not_taken=small, repeated=small)
rows = st.builds(
    Rows,
    sensors=st.lists(small, max_size=4).map(tuple),
    timestamps=st.lists(numbers, max_size=4),
    values=st.lists(finite, max_size=8),
    quality=st.lists(st.integers(0, 3), max_size=8),
)
refusals = st.builds(
    Refusal,
    rule=text,
    name=text,
    sensor=st.none() | small,
    count=small,
    first_at=st.none() | numbers,
    last_at=st.none() | numbers,
    samples=st.lists(st.builds(RawValue, timestamp=text, value=text), max_size=2),
)
validated = st.builds(
    Validated,
    raw=st.builds(RecordPosition, text, small, numbers),
    status=st.sampled_from(Status),
    counts=counts,
    rows=st.lists(rows, max_size=2),
    refusals=st.lists(refusals, max_size=2),
    refusals_beyond=small,
    not_taken=st.lists(st.builds(NotTaken, sensor=small, count=small), max_size=2),
    error=st.none() | text,
)
findings = st.builds(
    Finding,
    device_number=text,
    timestamp=st.none() | numbers | text,
    sensor_name=st.none() | text,
    kind=st.sampled_from(FindingKind),
    rule=text,
    message=text,
)
outcomes = st.builds(
    Outcome,
    batch_id=st.uuids(),
    item=small,
    items=small,
    provider=small,
    device=small,
    received_at_ms=numbers,
    status=st.sampled_from(Status),
    counts=counts,
    rules=st.dictionaries(text, small, max_size=3),
    findings=st.lists(findings, max_size=3),
)
limits = st.none() | finite
exchanges = st.builds(MeterExchange, sensor=small, at=numbers, closing=limits, opening=limits)
documents: st.SearchStrategy[RegistryDocument] = st.one_of(
    st.builds(Meta, epoch=text, created_at=numbers),
    st.builds(Provider, id=small, name=text, active=st.booleans(), revoked_at=st.none() | numbers),
    st.builds(Gateway, id=small, provider=small, name=text, active=st.booleans(), revoked_at=st.none() | numbers),
    st.builds(
        Sensor,
        id=small,
        position=small,
        name=text,
        unit=text,
        kind=st.sampled_from(SensorKind),
        alias=st.none() | text,
        minimum=limits,
        maximum=limits,
        faults=st.lists(st.tuples(limits, limits), max_size=3).map(tuple),
        capacity=limits,
        resolution=limits,
        interval_seconds=st.none() | numbers,
        maximum_rate=limits,
    ),
    st.builds(
        Device,
        id=small,
        provider=small,
        number=text,
        sensors=st.lists(small, max_size=30).map(tuple),
        zone=text,
        interval_seconds=st.none() | small,
        maximum_rates=st.none() | st.dictionaries(numbers, st.floats(0, 1e6), max_size=3),
        exchanges=st.lists(exchanges, max_size=3).map(tuple),
        active=st.booleans(),
    ),
    st.builds(SigningKey, kid=text, public_key=text, state=st.sampled_from(KeyState), accept_until=st.none() | numbers),
)


@given(validated)
def test_a_validated_record_comes_back_as_it_went(message: Validated) -> None:
    assert decode_validated(encode(message)) == message
    assert encode(decode_validated(encode(message))) == encode(message)


@given(outcomes)
def test_an_outcome_comes_back_as_it_went(message: Outcome) -> None:
    assert decode_outcome(encode(message)) == message


@given(documents)
def test_a_registry_document_comes_back_as_it_went(document: RegistryDocument) -> None:
    assert decode_document(encode_document(document)) == document


def test_each_document_has_a_key_of_its_own() -> None:
    keys = [
        document_key(document)
        for document in (
            Meta(epoch="e", created_at=0),
            Provider(id=1, name="a"),
            Gateway(id=2, provider=1, name="b"),
            Device(id=29, provider=1, number="n", sensors=()),
            Sensor(id=7, position=0, name="s", unit="kWh", kind=SensorKind.ACCUMULATING),
            SigningKey(kid="k-1", public_key="PEM", state=KeyState.ACTIVE),
        )
    ]
    assert keys == ["meta", "provider:1", "gateway:2", "device:29", "sensor:7", "key:k-1"]


@given(validated)
def test_a_field_of_a_newer_release_is_ignored(message: Validated) -> None:
    newer = msgspec.json.decode(encode(message)) | {"ofANewerRelease": 1}
    assert decode_validated(msgspec.json.encode(newer)) == message


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_raise_one_kind_of_error(value: bytes) -> None:
    for decode in (decode_validated, decode_outcome, decode_document):
        with pytest.raises(msgspec.DecodeError):
            decode(value)
