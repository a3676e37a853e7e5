"""The ways in which the real portal may differ from the default table: names by an overlay, shapes by switches."""

from typing import Any, Literal

import msgspec

from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.domain.portal.dialect import Dialect, dialect_from, overlaid


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`dialect` overlays the table's names; an answer uses the first spelling of each."""

    dialect: dict[str, Any] = {}
    nesting: Literal["nested", "flat", "object"] = "nested"
    empty: Literal["list", "null", "absent"] = "list"
    master_container: bool = True
    location: Literal["nested", "flat"] = "nested"
    as_text: bool = False
    """Booleans as "True", numbers as text."""
    totals: bool = True
    status_in_body: bool = True
    denied_by_http: bool = False
    descending: bool = False
    page_size_default: int = 100
    page_size_maximum: int = 1_000

    def table(self) -> Dialect:
        base = msgspec.to_builtins(load_dialect())
        return dialect_from(overlaid(base, self.dialect))
