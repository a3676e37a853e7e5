"""The gateway's two tokens on its disk: mode 600, and a new pair is on the disk before it is used."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TokenPair:
    """`access` is None until the first refresh."""

    refresh: str = field(repr=False)
    access: str | None = field(default=None, repr=False)


class NoTokenError(Exception):
    """No token was imported into this state directory, or its file is damaged."""


class TokenFile:
    """Each write is whole or not at all, and durable when `write` returns: a lost one would lock the gateway out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> TokenPair:
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            return TokenPair(str(document["refreshToken"]), document.get("accessToken"))
        except FileNotFoundError as error:
            raise NoTokenError(f"no token yet in {self._path}: import the issued one first") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            text = f"{self._path} is damaged: have a new token issued, and import it (an old one ends the whole family)"
            raise NoTokenError(text) from error

    def write(self, pair: TokenPair) -> None:
        document = {"refreshToken": pair.refresh} | ({"accessToken": pair.access} if pair.access else {})
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        _sync_directory(self._path.parent)


@contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """True while this process alone holds the lock of that path; False, at once, if another does.

    The kernel lets it go when the process dies, however it dies.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
