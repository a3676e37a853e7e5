"""What ingest-api knew of the registry when it took a record in, the validator waits for before it validates it."""

from collections.abc import Iterable
from typing import Protocol

import structlog

from metering_common.contract.metadata import RegistryVersion
from metering_common.registry.memory import Registry
from metering_validator.metrics import Metrics

WAIT_SECONDS = 2.0
REMEMBERED = 1_000
"""Positions waited for in vain; beyond that all are forgotten."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Replica(Protocol):
    """Where the registry is; see `metering_common.registry.replica`."""

    registry: Registry
    version: RegistryVersion | None

    async def wait_for(self, version: RegistryVersion, timeout_seconds: float) -> bool: ...


class RegistryBarrier:
    """Waits once per batch, 2 s at most, and never twice for a position that did not come."""

    def __init__(self, replica: Replica, metrics: Metrics) -> None:
        self._replica = replica
        self._metrics = metrics
        self._in_vain: set[RegistryVersion] = set()

    async def wait(self, named: Iterable[RegistryVersion]) -> None:
        """For the highest position of the registry's own epoch; those of a topic recreated mean nothing any more."""
        known = self._replica.version
        if known is None:
            return
        ahead = {
            version
            for version in named
            if version.epoch == known.epoch and version.position > known.position and version not in self._in_vain
        }
        if ahead:
            await self._wait_for(max(ahead, key=lambda version: version.position), known)

    async def _wait_for(self, wanted: RegistryVersion, known: RegistryVersion) -> None:
        self._metrics.registry_waits.inc()
        if await self._replica.wait_for(wanted, WAIT_SECONDS):
            return
        if len(self._in_vain) >= REMEMBERED:
            self._in_vain.clear()
        self._in_vain.add(wanted)
        self._metrics.validated_behind.inc()
        log.warning("registry.behind", epoch=wanted.epoch, wanted=wanted.position, known=known.position)
