"""From rows of auth's tables to the documents that ingest-api, the validator and the writer read."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import asyncpg
import msgspec

from metering_common.postgres.queries import load_queries
from metering_common.registry.documents import (
    Device,
    FaultRanges,
    Gateway,
    KeyState,
    Meta,
    MeterExchange,
    Provider,
    RegistryDocument,
    Sensor,
    SensorKind,
    SigningKey,
    document_key,
    encode_document,
)

QUERIES = load_queries("metering_auth", "sql/registry.sql")
ROWS_PER_FETCH = 5_000


def provider_from(row: asyncpg.Record) -> Provider:
    return Provider(id=row["id"], name=row["name"], active=row["active"], revoked_at=row["revoked_at"])


def gateway_from(row: asyncpg.Record) -> Gateway:
    return Gateway(
        id=row["id"],
        provider=row["provider_id"],
        name=row["name"],
        active=row["active"],
        revoked_at=row["revoked_at"],
    )


def sensor_from(row: asyncpg.Record) -> Sensor:
    return Sensor(
        id=row["id"],
        position=row["position"],
        name=row["name"],
        unit=row["unit"],
        kind=SensorKind(row["kind"]),
        alias=row["alias"],
        minimum=row["minimum"],
        maximum=row["maximum"],
        faults=msgspec.json.decode(row["faults"], type=FaultRanges),
        capacity=row["capacity"],
        resolution=row["resolution"],
        interval_seconds=row["interval_seconds"],
        maximum_rate=row["maximum_rate"],
    )


def encoded(terms: object) -> str:
    """As a column of JSON is written."""
    return msgspec.json.encode(terms).decode()


def rates_from(text: str) -> dict[int, float] | None:
    return msgspec.json.decode(text, type=dict[int, float]) or None


def exchanges_from(text: str) -> tuple[MeterExchange, ...]:
    return msgspec.json.decode(text, type=tuple[MeterExchange, ...])


def device_from(row: asyncpg.Record) -> Device:
    return Device(
        id=row["id"],
        provider=row["provider_id"],
        number=row["number"],
        sensors=tuple(row["sensors"]),
        zone=row["zone"],
        interval_seconds=row["interval_seconds"],
        maximum_rates=rates_from(row["maximum_rates"]),
        exchanges=exchanges_from(row["exchanges"]),
        active=row["active"],
    )


def key_from(row: asyncpg.Record) -> SigningKey:
    return SigningKey(
        kid=row["kid"],
        public_key=row["public_key"],
        state=KeyState(row["state"]),
        accept_until=row["accept_until"],
    )


def meta_from(row: asyncpg.Record) -> Meta:
    return Meta(epoch=str(row["epoch"]), created_at=int(row["epoch_at"].timestamp()))


async def all_documents(connection: Any) -> AsyncIterator[RegistryDocument]:
    """Every document that should stand on the topic; call it inside a transaction (cursors).

    `meta` comes last, behind all that its epoch begins with: a replica is ready only once it has read one, and one that
    starts in the middle of a publication must not take the part for the whole.
    """
    for query, document_from, arguments in (
        (QUERIES.public_keys, key_from, ()),
        (QUERIES.providers, provider_from, ()),
        (QUERIES.gateways, gateway_from, (None,)),
        (QUERIES.sensors, sensor_from, ()),
        (QUERIES.devices, device_from, (None,)),
    ):
        async for row in connection.cursor(query, *arguments, prefetch=ROWS_PER_FETCH):
            yield document_from(row)
    publication = await connection.fetchrow(QUERIES.publication)
    if publication["epoch"] is not None:
        yield meta_from(publication)


async def documents_of(connection: Any, keys: Iterable[str]) -> dict[str, bytes | None]:
    """What should stand on the topic under each of these keys, encoded; None for nothing, a tombstone."""
    present: dict[str, bytes | None] = dict.fromkeys(keys)
    names: dict[str, list[str]] = defaultdict(list)
    for kind, _, name in (key.partition(":") for key in present):
        names[kind].append(name)
    for kind, (query, document_from) in _BY_KIND.items():
        for row in await connection.fetch(query, names[kind]) if kind in names else ():
            document = document_from(row)
            present[document_key(document)] = encode_document(document)
    if "meta" in present:
        publication = await connection.fetchrow(QUERIES.publication)
        present["meta"] = None if publication["epoch"] is None else encode_document(meta_from(publication))
    return present


_BY_KIND: dict[str, tuple[str, Callable[[asyncpg.Record], RegistryDocument]]] = {
    "key": (QUERIES.public_keys_named, key_from),
    "provider": (QUERIES.providers_numbered, provider_from),
    "gateway": (QUERIES.gateways_numbered, gateway_from),
    "sensor": (QUERIES.sensors_numbered, sensor_from),
    "device": (QUERIES.devices_numbered, device_from),
}
