"""The outbox: what changes in the registry is announced in the same transaction, in the order of the commits.

There are two lanes, each serialised by a lock of its own and published in its own order, the first one first. A key
belongs to one lane only. So an import of 100,000 devices, which holds the ordinary lane for seconds, never delays a
revocation, and no document can overtake a newer one of its own key.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from enum import IntEnum

from metering_auth.adapters.postgres.documents import QUERIES
from metering_auth.adapters.postgres.rows import Connection
from metering_common.registry.documents import RegistryDocument, document_key, encode_document

Entry = tuple[str, bytes | None]


class Lane(IntEnum):
    """The order of publication, and which advisory lock serialises the changes."""

    FIRST = 0
    """Keys, providers, gateways: all that revokes."""
    ORDINARY = 1
    """Sensors and devices."""


def lane_of(key: str) -> Lane:
    """The one lane that a record key belongs to."""
    return Lane.ORDINARY if key.startswith(("device:", "sensor:", "meta")) else Lane.FIRST


@asynccontextmanager
async def change(connection: Connection, lane: Lane) -> AsyncIterator[None]:
    """A transaction in which the documents of one lane may be changed and announced."""
    async with connection.transaction():
        await connection.execute(QUERIES.lock_lane, lane)
        yield


async def announce(connection: Connection, *documents: RegistryDocument) -> None:
    """To be called inside `change` of the documents' lane."""
    await announce_entries(connection, [(document_key(each), encode_document(each)) for each in documents])


async def announce_entries(connection: Connection, entries: Iterable[Entry]) -> None:
    """As `announce`, for encoded documents and tombstones; all of one lane."""
    keys, values = zip(*entries, strict=True)
    await connection.execute(QUERIES.announce, lane_of(keys[0]), keys, values)
