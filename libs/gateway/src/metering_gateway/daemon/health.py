"""How the daemon does, in one document: for the health file, for `metering-gateway status`."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Health:
    """`at`: Unix seconds by the machine's clock. `trouble`: why nothing can be sent just now, empty if it can.

    `sources`: the trouble of each, empty if it is read. The rest is the account of the outbox.
    """

    at: int
    pid: int
    trouble: str
    sources: dict[str, str]
    waiting: int
    unknown: int
    refused: int
    dropped: int
    sent: int
    free_bytes: int

    @property
    def good(self) -> bool:
        return not self.trouble and not any(self.sources.values())

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"good": self.good}


def write_health(path: Path, health: Health, replace: Callable[[Path, Path], None] = os.replace) -> None:
    """Whole or not at all: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(health.document()) + "\n", encoding="utf-8")
    replace(draft, path)
