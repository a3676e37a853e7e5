"""RV-05 and RV-12: what is asked about a value."""

from metering_validator.domain.context import Context
from metering_validator.domain.examples import Example
from metering_validator.domain.rule_table import Named, Phase, not_in_columns, rule


@rule(
    "RV-05",
    "value-not-a-number",
    phase=Phase.VALUE,
    column=not_in_columns,
    english="sensorValue is not a finite JSON number: no text, null, boolean, NaN, Infinity or number beyond a double.",
    spanish="sensorValue no es un número JSON finito: ni texto, null, booleano, NaN, Infinity ni más que un double.",
    applies_to=[Example('"1"'), Example("null"), Example("NaN"), Example("1e400")],
    passes=[Example("-1.5e3"), Example(entry="null")],
)
def value_not_a_number(named: Named, number: float | None, _later: float | None, _context: Context) -> bool:
    """contracts/openapi/input.yaml: these are refusals by rule, not errors of the request."""
    return named.has_name and number is None


@rule(
    "RV-12",
    "superseded-in-record",
    phase=Phase.VALUE,
    column=not_in_columns,
    english="The same sensor has another value at the same timestamp later in this record: the last one counts.",
    spanish="El mismo sensor tiene otro valor con el mismo timestamp más adelante en este registro: cuenta el último.",
    applies_to=[Example("2", before=("1",))],
    passes=[Example("2", before=("2.0",)), Example("null", before=("1",))],
)
def superseded_in_record(_named: Named, number: float | None, later: float | None, _context: Context) -> bool:
    """docs/adr/0004: within one record the later position wins. Equal values are repeated, not refused."""
    return later is not None and number != later
