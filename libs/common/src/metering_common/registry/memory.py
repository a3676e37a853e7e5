"""The registry in memory: providers, gateways, devices, sensors and keys as the services know them."""

import sys
from collections.abc import Iterator

import msgspec

from metering_common.registry.documents import (
    Device,
    Gateway,
    Meta,
    Provider,
    RegistryDocument,
    Sensor,
    SigningKey,
    decode_document,
    document_key,
)


class Registry:
    """The newest document per key. One object for the life of its replica: keep it, look into it, never change it."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.providers: dict[int, Provider] = {}
        self.gateways: dict[int, Gateway] = {}
        self.devices: dict[int, Device] = {}
        self.sensors: dict[int, Sensor] = {}
        self.keys: dict[str, SigningKey] = {}
        self.generation = 0
        """Grows with every change of the sensors: what is computed from the dictionary is kept until then."""
        self._meta: Meta | None = None
        self._by_number: dict[int, dict[str, Device]] = {}
        self._sensor_lists: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._provider_ids: dict[int, int] = {}

    def device_by_number(self, provider: int, number: str) -> Device | None:
        """The provider's device of that number, also when inactive."""
        return self._by_number.get(provider, {}).get(number)

    def apply(self, key: str, value: bytes | None) -> RegistryDocument | None:
        """Takes one record of the topic in; no value, or an empty one, removes. Gives the document taken in.

        Raises `msgspec.DecodeError` or ValueError on a record that this release cannot read, and changes nothing then.
        """
        if not value:
            self._remove(key)
            return None
        document = decode_document(value)
        if document_key(document) != key:
            raise ValueError(f"the document of {document_key(document)} stands under {key}")
        self._put(document)
        return document

    def documents(self) -> Iterator[RegistryDocument]:
        """All of them, in no order."""
        if self._meta is not None:
            yield self._meta
        for documents in (self.providers, self.gateways, self.sensors, self.devices, self.keys):
            yield from documents.values()

    def get(self, key: str) -> RegistryDocument | None:
        """The document under a record key."""
        kind, _, name = key.partition(":")
        match kind:
            case "meta":
                return self._meta
            case "key":
                return self.keys.get(name)
            case "provider":
                return self.providers.get(int(name))
            case "gateway":
                return self.gateways.get(int(name))
            case "device":
                return self.devices.get(int(name))
            case "sensor":
                return self.sensors.get(int(name))
        raise ValueError(f"{key!r} is no key of the registry")

    def become(self, other: "Registry") -> None:
        """Takes over all that `other` has, in one step; `other` is not to be used after it."""
        generation = self.generation + other.generation + 1
        self.__dict__.update(other.__dict__)
        self.generation = generation

    def _put(self, document: RegistryDocument) -> None:
        match document:
            case Device():
                self._put_device(document)
            case Gateway():
                self.gateways[document.id] = document
            case Provider():
                self.providers[document.id] = document
            case Sensor():
                self.sensors[document.id] = document
                self.generation += 1
            case SigningKey():
                self.keys[document.kid] = document
            case Meta():
                self._meta, self.epoch = document, document.epoch

    def _put_device(self, device: Device) -> None:
        """What many devices have in common is kept once: a million of them have to fit into 400 MB."""
        msgspec.structs.force_setattr(device, "sensors", self._sensor_lists.setdefault(device.sensors, device.sensors))
        msgspec.structs.force_setattr(
            device, "provider", self._provider_ids.setdefault(device.provider, device.provider)
        )
        msgspec.structs.force_setattr(device, "zone", sys.intern(device.zone))
        if (before := self.devices.get(device.id)) is not None:
            self._forget_number(before)
        self.devices[device.id] = device
        numbers = self._by_number.setdefault(device.provider, {})
        if device.active or device.number not in numbers:
            numbers[device.number] = device

    def _forget_number(self, device: Device) -> None:
        """Only if the number still points to this device: it may have been given to another one meanwhile."""
        numbers = self._by_number[device.provider]
        if (pointed_to := numbers.get(device.number)) is not None and pointed_to.id == device.id:
            del numbers[device.number]

    def _remove(self, key: str) -> None:
        kind, _, name = key.partition(":")
        match kind:
            case "meta":
                self._meta = self.epoch = None
            case "key":
                self.keys.pop(name, None)
            case "provider":
                self.providers.pop(int(name), None)
            case "gateway":
                self.gateways.pop(int(name), None)
            case "sensor":
                self.generation += self.sensors.pop(int(name), None) is not None
            case "device":
                if (device := self.devices.pop(int(name), None)) is not None:
                    self._forget_number(device)
            case _:
                raise ValueError(f"{key!r} is no key of the registry")
