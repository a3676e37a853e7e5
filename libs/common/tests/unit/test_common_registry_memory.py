"""The registry in memory: the newest document per key, found by number, kept once where many are alike."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_common.registry.documents import (
    Device,
    Gateway,
    KeyState,
    Meta,
    Provider,
    RegistryDocument,
    Sensor,
    SensorKind,
    SigningKey,
    document_key,
    encode_document,
)
from metering_common.registry.memory import Registry

pytestmark = pytest.mark.fast

ALL_KINDS: list[RegistryDocument] = [
    Meta(epoch="e", created_at=0),
    Provider(id=1, name="a"),
    Gateway(id=2, provider=1, name="b"),
    Device(id=29, provider=1, number="n", sensors=(1, 2)),
    Sensor(id=7, position=0, name="s", unit="kWh", kind=SensorKind.ACCUMULATING),
    SigningKey(kid="k:1", public_key="PEM", state=KeyState.ACTIVE),
]


def put(registry: Registry, *documents: RegistryDocument) -> None:
    for document in documents:
        registry.apply(document_key(document), encode_document(document))


def device(number: str, device_id: int, *, provider: int = 1, active: bool = True) -> Device:
    return Device(id=device_id, provider=provider, number=number, sensors=(1,), active=active)


@pytest.mark.parametrize("document", ALL_KINDS, ids=document_key)
def test_a_document_is_kept_replaced_and_removed(document: RegistryDocument) -> None:
    registry, key = Registry(), document_key(document)
    put(registry, document, document)
    assert registry.get(key) == document
    assert list(registry.documents()) == [document]
    assert registry.apply(key, None) is None
    assert registry.get(key) is None
    assert list(registry.documents()) == []
    registry.apply(key, b"")  # a tombstone for what is not there


def test_each_kind_has_its_room() -> None:
    registry = Registry()
    put(registry, *ALL_KINDS)
    assert registry.epoch == "e"
    rooms = registry.providers, registry.gateways, registry.devices, registry.sensors, registry.keys
    assert [list(room) for room in rooms] == [[1], [2], [29], [7], ["k:1"]]


def test_the_generation_grows_with_the_sensors_only() -> None:
    registry = Registry()
    put(registry, *ALL_KINDS)
    assert registry.generation == 1
    put(registry, *[document for document in ALL_KINDS if not isinstance(document, Sensor)])
    registry.apply("sensor:8", None)  # is not there
    assert registry.generation == 1
    registry.apply("sensor:7", None)
    assert registry.generation == 2


def test_equal_sensor_lists_are_kept_once() -> None:
    registry = Registry()
    put(registry, *[Device(id=n, provider=900, number=f"{n}", sensors=(1, 2, 3), zone="Etc/GMT-1") for n in range(5)])
    devices = list(registry.devices.values())
    assert len({id(one.sensors) for one in devices}) == 1
    assert len({id(one.provider) for one in devices}) == 1
    assert len({id(one.zone) for one in devices}) == 1


def test_a_number_is_found_within_its_provider() -> None:
    registry = Registry()
    put(registry, device("7", 1), device("7", 2, provider=2))
    assert registry.device_by_number(1, "7") is registry.devices[1]
    assert registry.device_by_number(2, "7") is registry.devices[2]
    assert registry.device_by_number(3, "7") is None


def test_a_device_that_changes_its_number_is_found_by_the_new_one_only() -> None:
    registry = Registry()
    put(registry, device("old", 1), device("new", 1))
    assert registry.device_by_number(1, "old") is None
    assert registry.device_by_number(1, "new") is registry.devices[1]


def test_a_number_given_to_another_device_survives_the_removal_of_the_first() -> None:
    registry = Registry()
    put(registry, device("7", 1), device("7", 2))
    registry.apply("device:1", None)
    found = registry.device_by_number(1, "7")
    assert found is not None
    assert found.id == 2
    registry.apply("device:2", None)
    assert registry.device_by_number(1, "7") is None


def test_an_inactive_device_does_not_take_the_number_of_an_active_one() -> None:
    registry = Registry()
    put(registry, device("7", 1, active=False), device("7", 2), device("7", 1, active=False))
    found = registry.device_by_number(1, "7")
    assert found is not None
    assert found.id == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("device:29", b"{"),
        ("device:29", b'{"type":"thing"}'),
        ("device:30", encode_document(ALL_KINDS[3])),
        ("device:x", None),
        ("thing:1", None),
        ("", None),
    ],
)
def test_a_record_that_cannot_be_read_changes_nothing(key: str, value: bytes | None) -> None:
    registry = Registry()
    put(registry, *ALL_KINDS)
    with pytest.raises((msgspec.DecodeError, ValueError)):
        registry.apply(key, value)
    assert sorted(map(document_key, registry.documents())) == sorted(map(document_key, ALL_KINDS))


def test_a_registry_becomes_another_and_stays_the_same_object() -> None:
    registry, other = Registry(), Registry()
    put(registry, *ALL_KINDS)
    generation = registry.generation
    put(other, Meta(epoch="f", created_at=1), device("8", 8))
    registry.become(other)
    assert registry.epoch == "f"
    assert list(registry.devices) == [8]
    assert registry.device_by_number(1, "n") is None
    assert registry.device_by_number(1, "8") is registry.devices[8]
    assert registry.generation > generation


changes = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.tuples(st.integers(1, 2), st.sampled_from("abc"))), max_size=40
)


@given(changes)
def test_after_any_changes_numbers_point_to_existing_devices(
    made: list[tuple[int, tuple[int, str] | None]],
) -> None:
    """Numbers are unique per provider at any time (auth sees to it): a taken number is freed before it is given."""
    registry, owners = Registry(), dict[tuple[int, str], int]()
    for device_id, given_to in made:
        owners = {number: owner for number, owner in owners.items() if owner != device_id}
        if given_to is None or given_to in owners:
            registry.apply(f"device:{device_id}", None)
            continue
        owners[given_to] = device_id
        put(registry, device(given_to[1], device_id, provider=given_to[0]))
    found = {
        (provider, number): one.id
        for provider in (1, 2)
        for number in "abc"
        if (one := registry.device_by_number(provider, number)) is not None
    }
    assert found == owners
