"""What pytest-xdist would leave out: tests whose name another one has, and what was deselected in the closing line."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

DESELECTED = "deselected"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Of tests of one name its workers run a single one, and say nothing."""
    counts = Counter(item.nodeid for item in session.items)
    if doubled := [name for name, count in counts.items() if count > 1]:
        raise pytest.UsageError(f"several tests have one name: {', '.join(doubled)}")


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """A worker tells its controller; all workers deselect the same."""
    if (output := getattr(items[0].config, "workeroutput", None)) is not None:
        output[DESELECTED] = output.get(DESELECTED, 0) + len(items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The controller's turn, when a worker has ended."""
    count = getattr(node, "workeroutput", {}).get(DESELECTED, 0)
    node.config.pluginmanager.get_plugin("terminalreporter").stats[DESELECTED] = [SimpleNamespace()] * count
