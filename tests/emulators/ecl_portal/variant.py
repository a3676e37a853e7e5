"""The ways in which the real portal may differ from the default table: names by an overlay, shapes by switches."""

from typing import Any, Literal

import msgspec

from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.domain.portal.dialect import Dialect, dialect_from, overlaid


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`dialect` overlays the table's names; an answer uses the first spelling of each."""

    dialect: dict[str, Any] = {}
    nesting: Literal["nested", "flat", "object", "by_channel", "rows"] = "nested"
    """`rows`: lists of values in the order of the dialect's columns."""
    dates: Literal["iso", "microsoft"] = "iso"
    empty: Literal["list", "null", "absent"] = "list"
    master_container: bool = True
    location: Literal["nested", "flat"] = "nested"
    as_text: bool = False
    """Booleans as "True", numbers as text."""
    totals: bool = True
    status_in_body: bool = True
    status_as_object: bool = False
    error_past_the_end: bool = False
    """A page behind the last one is refused instead of empty."""
    shuffled: bool = False
    """The samples of a page come in no order, the same each time."""
    ignores_pages: bool = False
    """The page's number means nothing to it: each page is the first."""
    needs_channels: bool = False
    """A request that names no channel is refused."""
    keeps_both: bool = False
    """Of two samples with one stamp both are kept, not the later alone."""
    denied_by_http: bool = False
    descending: bool = False
    page_size_default: int = 100
    page_size_maximum: int = 1_000

    def table(self) -> Dialect:
        base = msgspec.to_builtins(load_dialect())
        return dialect_from(overlaid(base, self.dialect))
