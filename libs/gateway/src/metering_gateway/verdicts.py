"""Reads what became of each batch after its 201: how many values were accepted, and refused by which rule."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from metering_gateway.api import InputApi
from metering_gateway.clock import GatewayClock
from metering_gateway.domain.answers import Answer
from metering_gateway.findings import Findings
from metering_gateway.line import Line
from metering_gateway.outbox import Outbox

GIVE_UP_MS = 120_000  # past the platform's 60 s, after which it says itself that a batch is incomplete
_AT_ONCE = 4
_POLL_SECONDS = 0.5
_COUNTS = ("accepted", "refused", "notTaken", "repeated")


class Verdicts:
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
        """Waits for those still pending; one that stays so for two minutes counts as unread.

        Raises NoTokenError and CredentialsRefusedError.
        """
        while await self.read_due():
            await self._sleep(_POLL_SECONDS)

    async def read_due(self) -> bool:
        """Reads each once; whether some are still pending."""
        due = self._outbox.verdicts_due()
        for start in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*(self._read(*batch) for batch in due[start : start + _AT_ONCE]))
        return bool(self._outbox.verdicts_due())

    async def _read(self, location: str, values: int, sent_at_ms: int) -> None:
        answer = await self._line.ask(lambda access: self._api.verdict(access, location), _about_batch)
        document = answer.document()
        if answer.status == HTTPStatus.OK and document.get("status") == "judged":
            self._findings.tell(document.get("refusals"))
            self._outbox.verdict_read(location, _figures(document))
        elif answer.status == HTTPStatus.NOT_FOUND or self._clock.local_ms() - sent_at_ms > GIVE_UP_MS:
            self._outbox.verdict_read(location, {"verdict:unread": values})


def _about_batch(answer: Answer) -> bool:
    """The verdict, or the platform's own word that it is no longer to be had."""
    document = answer.document()
    if answer.status == HTTPStatus.OK:
        return isinstance(document.get("counts"), dict) and "status" in document
    return answer.status == HTTPStatus.NOT_FOUND and "code" in document


def _figures(document: Mapping[str, Any]) -> Counter[str]:
    counts, per_rule = document["counts"], document.get("refusedPerRule")
    figures = Counter({f"verdict:{name}": _whole(counts.get(name)) for name in _COUNTS})
    for rule, count in (per_rule if isinstance(per_rule, dict) else {}).items():
        figures[f"refused:{rule}"] += _whole(count)
    return figures


def _whole(count: object) -> int:
    return count if isinstance(count, int) else 0
