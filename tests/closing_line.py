"""What pytest-xdist would leave out: tests whose name another one has, and what was deselected in the closing line."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

DESELECTED = "deselected"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(ids: Sequence[str]) -> None:
    """Of tests of one name its workers run a single one, and say nothing."""
    if doubled := [name for name, count in Counter(ids).items() if count > 1]:
        raise pytest.UsageError(f"several tests have one name: {', '.join(doubled)}")


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """A worker tells its controller; all workers deselect the same."""
    if (output := getattr(items[0].config, "workeroutput", None)) is not None:
        output[DESELECTED] = output.get(DESELECTED, 0) + len(items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The controller's turn, when a worker has ended; one that crashed has told nothing."""
    if count := getattr(node, "workeroutput", {}).get(DESELECTED):
        node.config.pluginmanager.get_plugin("terminalreporter").stats[DESELECTED] = [SimpleNamespace()] * count
