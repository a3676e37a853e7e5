"""Binary COPY into a table, from rows that are bytes already."""

from collections.abc import AsyncIterator, Sequence

from metering_writer.adapters.session import Session
from metering_writer.domain.binary_copy import COPY_HEADER, COPY_TRAILER


async def copy_binary(session: Session, table: str, columns: Sequence[str], rows: Sequence[bytes]) -> None:
    """`rows` are without COPY's header and trailer, in pieces of any size."""
    await session.copy_to_table(table, source=_stream(rows), columns=columns, format="binary")


async def _stream(rows: Sequence[bytes]) -> AsyncIterator[bytes]:
    yield COPY_HEADER
    for piece in rows:
        yield piece
    yield COPY_TRAILER
