"""The disk under the outbox: how much is free, and a reserve that lets a full disk still record what was sent."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

RESERVE_BYTES = 1 << 20  # enough for the log of some thousand deletions
STORABLE_FREE_BYTES = 4 << 20  # below it nothing more is stored: the rest is for recording what was sent
LOW_FREE_BYTES = 50 << 20  # below it a notice goes out

FreeBytes = Callable[[Path], int]


class DiskFullError(OSError):
    """The disk takes no more measures; what is stored goes on being sent."""


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


class Reserve:
    """A file that holds space for the day the disk is full: SQLite needs room to delete, too."""

    def __init__(self, path: Path, size: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size = size

    def hold(self) -> None:
        """Takes the space if it is not held and the disk has it."""
        if self._path.exists() and self._path.stat().st_size >= self._size:
            return
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError:
            self.release()

    def release(self) -> bool:
        """Gives the space back to the disk. Returns False if none was held."""
        try:
            held = self._path.stat().st_size > 0
            self._path.unlink()
        except FileNotFoundError:
            return False
        return held
