"""The account at the end of a run: what was sent, what the platform said of it, what still waits here."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """Measures and their values; what the results said of the values sent.

    `refused_per_rule` counts a value once for each rule that refused it. `unread`: values whose result was no longer
    to be had. `warnings`: entries of the 201s' `warnings`, per kind and rule.
    """

    stored_measures: int
    stored_values: int
    sent_measures: int
    sent_values: int
    accepted: int
    refused: int
    not_taken: int
    repeated: int
    unread: int
    refused_per_rule: dict[str, int]
    warnings: dict[str, int]


@dataclass(frozen=True, slots=True)
class Summary:
    """`run`: since this process began (`run_refused` too). `total`: since the outbox was made. The rest: measures that
    stand in the outbox now, and values whose result is awaited.

    Always: total.stored_measures = total.sent_measures + waiting + refused + forgotten + dropped. `waiting` includes
    those of unknown devices (`unknown`), `dropped` are those over the outbox's limits. `refused` here are measures
    that a request was refused for; they never got in.
    """

    run: Figures
    total: Figures
    waiting: int
    unknown: int
    refused: int
    run_refused: int
    forgotten: int
    dropped: int
    awaiting_result: int
    requests: int
    repeats: int

    @property
    def closes(self) -> bool:
        """Whether the account above holds."""
        kept = self.waiting + self.refused + self.forgotten + self.dropped
        return self.total.stored_measures == self.total.sent_measures + kept

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"closes": self.closes}


def summarise(before: Counter[str], now: Counter[str], requests: int, repeats: int) -> Summary:
    return Summary(
        run=_figures(now - before),
        total=_figures(now),
        waiting=now["waiting"],
        unknown=now["unknown"],
        refused=now["refused"],
        run_refused=max(0, now["refused"] - before["refused"]),
        forgotten=now["forgotten_measures"],
        dropped=now["dropped_measures"],
        awaiting_result=now["awaiting_result"],
        requests=requests,
        repeats=repeats,
    )


def _figures(counts: Counter[str]) -> Figures:
    return Figures(
        stored_measures=counts["stored_measures"],
        stored_values=counts["stored_values"],
        sent_measures=counts["sent_measures"],
        sent_values=counts["sent_values"],
        accepted=counts["result:accepted"],
        refused=counts["result:refused"],
        not_taken=counts["result:notTaken"],
        repeated=counts["result:repeated"],
        unread=counts["result:unread"],
        refused_per_rule=_named(counts, "refused:"),
        warnings=_named(counts, "warning:"),
    )


def _named(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count for name, count in sorted(counts.items()) if name.startswith(prefix)}
