"""Loads the dialect: the built-in table of dialect.toml, with a file of the operator's own over it."""

import tomllib
from importlib import resources
from pathlib import Path

from metering_ecl_poller.domain.portal.dialect import Dialect, DialectError, dialect_from, overlaid


def load_dialect(overlay: Path | None = None) -> Dialect:
    """The table of dialect.toml, with the file's entries over it; raises `DialectError`."""
    table = tomllib.loads((resources.files(__package__) / "dialect.toml").read_text(encoding="utf-8"))
    if overlay is None:
        return dialect_from(table)
    try:
        changes = tomllib.loads(overlay.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DialectError(f"dialect file {overlay}: {error}") from error
    return dialect_from(overlaid(table, changes))
