"""Which offsets leave for Kafka: only those behind records whose outputs are all acknowledged.

Faust commits what was acknowledged to *it*, and it counts as acknowledged also what a raising or cancelled loop body
had in flight, and records that it skipped itself around a rebalance. Here its commits are held to what the validator
has let go of.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from metering_validator.adapters.fetching import PromptConsumer


class GuardedConsumer(PromptConsumer):
    """Faust's consumer, with the last word on commits taken from it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._let_go: dict[TP, int] = {}

    def let_go(self, next_offsets: Mapping[TP, int]) -> None:
        """Everything before these offsets is done."""
        for partition, offset in next_offsets.items():
            self._let_go[partition] = max(offset, self._let_go.get(partition, 0))

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Faust waits here for the batch in flight and commits; after that the offsets are the new owner's affair."""
        await super().on_partitions_revoked(revoked)
        for partition in revoked:
            self._let_go.pop(partition, None)

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        super()._filter_committable_offsets(tps)  # empties Faust's own list of acknowledgements, which would grow
        return {tp: offset for tp, offset in self._let_go.items() if self._should_commit(tp, offset)}


class GuardedTransport(driver.Transport):
    """Faust's Kafka transport with the guarded consumer."""

    Consumer = GuardedConsumer
