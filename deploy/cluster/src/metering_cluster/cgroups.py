"""The cluster's own cgroups, below one folder of each controller's tree."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TREE = Path("/sys/fs/cgroup")
TRIES = 50
PAUSE_SECONDS = 0.1


@contextmanager
def removed(name: str) -> Iterator[None]:
    """A folder of that name for every controller; none of them is left after the block."""
    for controller in controllers():
        (controller / name).mkdir(exist_ok=True)
    try:
        yield
    finally:
        for controller in controllers():
            _remove(controller / name)


def controllers() -> list[Path]:
    """One folder per controller with cgroups of version 1, the one of all with version 2."""
    if (TREE / "cgroup.controllers").exists():
        return [TREE]
    return [folder for folder in TREE.iterdir() if (folder / "cgroup.procs").exists() and not folder.is_symlink()]


def of_controller(name: str, controller: str) -> Path:
    """The folder of that name in the tree of one controller, `pids` for one."""
    [*_, folder] = [folder for folder in controllers() if folder == TREE or controller in folder.name.split(",")]
    return folder / name


def _remove(root: Path) -> None:
    """From the leaves up; the kernel needs a moment after the last process has ended."""
    for _ in range(TRIES):
        for folder in sorted(root.rglob("*/"), key=lambda path: -len(path.parts)):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            root.rmdir()
        if not root.exists():
            return
        time.sleep(PAUSE_SECONDS)
