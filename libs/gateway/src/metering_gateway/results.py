"""Reads what became of each batch after its 201: how many values were accepted, and refused by which rule."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from metering_gateway.api import InputApi
from metering_gateway.clock import GatewayClock
from metering_gateway.findings import Findings
from metering_gateway.line import Line
from metering_gateway.outbox import Outbox

WAIT_SECONDS = 20.0  # at the end of a run; what is pending then is read by the next one
_AT_ONCE = 4
_POLL_SECONDS = 0.5
_COUNTS = ("accepted", "refused", "notTaken", "repeated")


class Results:
    """Every batch that the outbox remembers, counted once, also over kills: read and counted in one transaction."""

    def __init__(
        self,
        outbox: Outbox,
        api: InputApi,
        line: Line,
        clock: GatewayClock,
        *,
        findings: Findings,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._outbox = outbox
        self._api = api
        self._line = line
        self._clock = clock
        self._findings = findings
        self._sleep = sleep

    async def read_all(self) -> None:
        """Waits for those still pending, for a while. Raises NoTokenError and CredentialsRefusedError."""
        until = self._clock.steady_seconds() + WAIT_SECONDS
        while await self.read_due() and self._clock.steady_seconds() < until:
            await self._sleep(_POLL_SECONDS)

    async def read_due(self) -> bool:
        """Reads each once; whether some are still pending."""
        due = self._outbox.results_due()
        for start in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*(self._read(location, values) for location, values in due[start : start + _AT_ONCE]))
        return bool(self._outbox.results_due())

    async def _read(self, location: str, values: int) -> None:
        answer = await self._line.ask_once(lambda access: self._api.result(access, location))
        document = answer.document()
        if answer.status == HTTPStatus.OK and document.get("status") == "validated":
            self._findings.tell(document.get("refusals"))
            self._outbox.result_read(location, _figures(document))
        elif answer.status == HTTPStatus.NOT_FOUND and "code" in document:  # a proxy's 404 has none
            self._outbox.result_read(location, {"result:unread": values})


def _figures(document: Mapping[str, Any]) -> Counter[str]:
    counts, per_rule = _object(document, "counts"), _object(document, "refusedPerRule")
    figures = Counter({f"result:{name}": _whole(counts.get(name)) for name in _COUNTS})
    for rule, count in per_rule.items():
        figures[f"refused:{rule}"] += _whole(count)
    return figures


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _whole(count: object) -> int:
    return count if isinstance(count, int) else 0
