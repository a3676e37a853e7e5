"""Who acts, and from where: what the audit names."""

import re
from collections.abc import Callable
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_TERMS = "1 to 64 letters of ASCII, digits and . _ @ + -, the first one a letter or a digit"


class UnknownOperatorError(Exception):
    """Nobody stands for an act; the message says what to give."""


@dataclass(frozen=True)
class Actor:
    """Who acts, and from where (a host for commands, an address for requests)."""

    name: str
    origin: str


def operator_name(argument: str | None, environment: str | None, terminal_user: Callable[[], str]) -> str:
    """Returns who runs a command: `--as`, else METERING_OPERATOR, else the login of the terminal.

    `terminal_user` asks the kernel, not the environment, and raises OSError where there is no terminal (in a pod).
    Raises `UnknownOperatorError`.
    """
    for given, where in ((argument, "--as"), (environment, "METERING_OPERATOR")):
        if given:
            return _checked(given, where)
    try:
        return _checked(terminal_user(), "the terminal's user")
    except OSError as error:
        message = "say who you are, with --as NAME or METERING_OPERATOR: there is no terminal here that has a user"
        raise UnknownOperatorError(message) from error


def _checked(name: str, where: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise UnknownOperatorError(f"{where}: {name[:64]!r} is no operator's name: {_TERMS}")
    return name
