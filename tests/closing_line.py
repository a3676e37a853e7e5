"""pytest's closing line counts what was deselected also where pytest-xdist's workers ran the tests."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

DESELECTED = "deselected"


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """A worker tells its controller; all workers deselect the same."""
    if (output := getattr(items[0].config, "workeroutput", None)) is not None:
        output[DESELECTED] = output.get(DESELECTED, 0) + len(items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The controller's turn, when a worker has ended."""
    count = getattr(node, "workeroutput", {}).get(DESELECTED, 0)
    node.config.pluginmanager.get_plugin("terminalreporter").stats[DESELECTED] = [SimpleNamespace()] * count
