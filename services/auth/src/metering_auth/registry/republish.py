"""All of the registry onto the topic again: for a topic made anew, or by an operator who doubts what stands there."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

from metering_auth.registry.documents import QUERIES, all_documents
from metering_auth.registry.outbox import Connection, Entry, Lane, announce_entries, lane_of
from metering_common.registry_documents import document_key, encode_document

ENTRIES_PER_STATEMENT = 5_000


async def begin_epoch(connection: Connection) -> UUID:
    """A new epoch, then everything: the topic was made anew, or has never been written."""
    epoch = uuid4()
    async with connection.transaction():
        await _lock_all(connection)
        await connection.execute(QUERIES.new_epoch, epoch)
        await _announce_all(connection)
    return epoch


async def republish(connection: Connection) -> int:
    """Everything, in the same epoch; how many documents. What should not stand there goes with the comparison."""
    async with connection.transaction():
        await _lock_all(connection)
        await connection.execute(QUERIES.request_comparison)
        return await _announce_all(connection)


async def _lock_all(connection: Connection) -> None:
    """Nothing may change between reading a document and announcing it. Always in this order: no deadlock."""
    for lane in Lane:
        await connection.execute(QUERIES.lock_lane, lane)


async def _announce_all(connection: Connection) -> int:
    announced = 0
    async for entries in _by_lane(connection):
        await announce_entries(connection, entries)
        announced += len(entries)
    return announced


async def _by_lane(connection: Connection) -> AsyncIterator[list[Entry]]:
    """Documents come lane by lane, so a statement is full or the lane is done."""
    held: list[Entry] = []
    async for document in all_documents(connection):
        key = document_key(document)
        if held and (len(held) == ENTRIES_PER_STATEMENT or lane_of(held[0][0]) is not lane_of(key)):
            yield held
            held = []
        held.append((key, encode_document(document)))
    if held:
        yield held
