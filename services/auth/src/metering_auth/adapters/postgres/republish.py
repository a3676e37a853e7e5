"""All of the registry onto the topic again: for a topic recreated, or by an operator who doubts what stands there.

Only keys are written down; the relay reads each document when its turn comes, behind all that changes meanwhile. So
nothing is locked, and neither a change nor a revocation waits for it, however large the registry is.
"""

from uuid import UUID, uuid4

from metering_auth.adapters.postgres.documents import QUERIES
from metering_auth.adapters.postgres.rows import Connection


async def begin_epoch(connection: Connection) -> UUID:
    """A new epoch, then everything: the topic was recreated, or has never been written."""
    epoch = uuid4()
    async with connection.transaction():
        await connection.execute(QUERIES.new_epoch, epoch)
        await connection.fetchval(QUERIES.ask_all_again)
    return epoch


async def republish(connection: Connection) -> int:
    """Everything, in the same epoch; how many documents. What should not stand there goes with the comparison."""
    async with connection.transaction():
        await connection.execute(QUERIES.request_comparison)
        return int(await connection.fetchval(QUERIES.ask_all_again))
