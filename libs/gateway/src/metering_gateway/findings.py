"""Tells what the platform's rules said of single values: each kind of finding once, the rest is counted."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from metering_gateway.notices import Notice, Notify


class Findings:
    """Of `warnings` and batch_results. A sensor that is refused every minute is shown once per process."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._told: set[tuple[object, ...]] = set()

    def tell(self, findings: object) -> Counter[str]:
        """How many per `kind:rule`; what is no list of findings is none."""
        listed = [f for f in findings if isinstance(f, dict)] if isinstance(findings, list) else []
        for finding in listed:
            what = tuple(str(finding.get(name)) for name in ("deviceNumber", "sensorName", "kind", "rule"))
            if what not in self._told:
                self._told.add(what)
                self._notify(Notice("warning", _line(finding)))
        return Counter(f"{finding.get('kind')}:{finding.get('rule')}" for finding in listed)


def _line(finding: Mapping[str, Any]) -> str:
    where = f"device {finding.get('deviceNumber')}, {finding.get('sensorName')}"
    at = f" at {finding['timestamp']}" if finding.get("timestamp") is not None else ""
    return f"{where}{at}: {finding.get('kind')} by {finding.get('rule')}: {finding.get('message')}"
