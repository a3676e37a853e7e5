"""The account at the end of a run: what was sent, what the platform said of it, what still waits here."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of measures, of their values, and of what the platform's answers said per kind and rule."""

    stored_measures: int
    stored_values: int
    sent_measures: int
    sent_values: int
    warnings: dict[str, int]


@dataclass(frozen=True, slots=True)
class Summary:
    """`run`: since this process began (`run_refused` too). `total`: since the outbox was made. The rest: measures that
    stand in the outbox now.

    Always: total.stored_measures = total.sent_measures + waiting + refused + forgotten; `waiting` includes those of
    unknown devices (`unknown`).
    """

    run: Figures
    total: Figures
    waiting: int
    unknown: int
    refused: int
    run_refused: int
    forgotten: int
    requests: int
    repeats: int

    @property
    def closes(self) -> bool:
        """Whether the account above holds."""
        kept = self.waiting + self.refused + self.forgotten
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
        requests=requests,
        repeats=repeats,
    )


def _figures(counts: Counter[str]) -> Figures:
    warnings = {name.removeprefix("warning:"): n for name, n in sorted(counts.items()) if name.startswith("warning:")}
    return Figures(
        counts["stored_measures"], counts["stored_values"], counts["sent_measures"], counts["sent_values"], warnings
    )
