"""From the portal's units to the dictionary's: exactly, and only where a conversion is declared here."""

from decimal import Context, Decimal, Inexact, Overflow

_EXACT = Context(prec=120, traps=[Inexact, Overflow])

_SPELLINGS = {"m3": "m³", "m3/h": "m³/h", "c": "°C", "degc": "°C", "℃": "°C", "": "Sin unidad"}
"""Spellings of one unit, by their casefolded text; everything else is compared as it stands."""

_CONVERSIONS: dict[tuple[str, str], Decimal] = {
    ("MWh", "kWh"): Decimal(1_000),
    ("Wh", "kWh"): Decimal("0.001"),
    ("W", "kW"): Decimal("0.001"),
    ("MW", "kW"): Decimal(1_000),
    ("l/h", "m³/h"): Decimal("0.001"),
    ("l", "m³"): Decimal("0.001"),
}
"""What one of the first is in the second. Powers of ten only, so that every product is exact."""


class UnitError(ValueError):
    """No conversion between these units is declared; none is guessed."""


def canonical(unit: str | None) -> str:
    """One spelling per unit; no unit at all is the dictionary's `Sin unidad`."""
    text = (unit or "").strip()
    return _SPELLINGS.get(text.casefold(), text)


def factor(portal_unit: str | None, sensor_unit: str) -> Decimal:
    """What a value in the portal's unit is multiplied by; raises `UnitError`."""
    source, target = canonical(portal_unit), canonical(sensor_unit)
    if source == target:
        return Decimal(1)
    try:
        return _CONVERSIONS[source, target]
    except KeyError:
        raise UnitError(f"no conversion from {source} to {target} is declared") from None


def converted(value: Decimal, by: Decimal) -> Decimal:
    """The exact product; raises `decimal.Inexact` rather than round (more than 120 digits)."""
    return _EXACT.multiply(value, by)


def added(value: Decimal, offset: Decimal) -> Decimal:
    """Returns the exact sum; raises `decimal.Inexact` rather than round."""
    return _EXACT.add(value, offset)
