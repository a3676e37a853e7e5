"""RV-06 to RV-11 and RV-17: what is asked about the time, the place and the size of a measure.

At most one of RV-06 to RV-09 applies to a measure. RV-10, RV-11 and RV-17 are ingest-api's limits again, for what came
by another way.
"""

from metering_common.contract.limits import MILLISECONDS_FROM
from metering_validator.domain.context import Context
from metering_validator.domain.examples import Example
from metering_validator.domain.rule_table import Effect, Moment, Phase, not_in_columns, rule


@rule(
    "RV-06",
    "timestamp-not-an-integer",
    phase=Phase.TIME,
    column=not_in_columns,
    english="timestamp is not an integer. Send Unix seconds without a fraction, not in quotes.",
    spanish="timestamp no es un entero. Envíe segundos Unix sin fracción y sin comillas.",
    applies_to=[Example(timestamp="1566226133.0"), Example(timestamp='"1566226133"')],
    passes=[Example(), Example(timestamp="-60")],
)
def timestamp_not_an_integer(moment: Moment, _context: Context) -> bool:
    """contracts/openapi/input.yaml: `1566226133.0` too passes ingest-api and is refused alone."""
    return moment.timestamp is None


@rule(
    "RV-07",
    "timestamp-in-milliseconds",
    phase=Phase.TIME,
    column=lambda times, _context: times.last >= MILLISECONDS_FROM,
    english="timestamp looks like milliseconds (or finer). Send Unix seconds: it is never guessed.",
    spanish="timestamp parece estar en milisegundos (o menos). Envíe segundos Unix: nunca se adivina.",
    applies_to=[Example(timestamp="100000000000")],
    passes=[Example(timestamp="99999999999")],
)
def timestamp_in_milliseconds(moment: Moment, _context: Context) -> bool:
    """Integers from 10^11 on, as at ingest-api."""
    return moment.timestamp is not None and moment.timestamp >= MILLISECONDS_FROM


@rule(
    "RV-08",
    "timestamp-in-the-future",
    phase=Phase.TIME,
    column=lambda times, context: times.last > context.latest,
    english="timestamp lies in the future. Correct the gateway's clock by GET /server-time.",
    spanish="timestamp está en el futuro. Corrija el reloj del gateway con GET /server-time.",
    applies_to=[Example(timestamp="901"), Example(timestamp="99999999999")],
    passes=[Example(timestamp="900"), Example(timestamp="100000000000")],
)
def timestamp_in_the_future(moment: Moment, context: Context) -> bool:
    """contracts/openapi/input.yaml: more than 900 s after received-at."""
    return moment.timestamp is not None and context.latest < moment.timestamp < MILLISECONDS_FROM


@rule(
    "RV-09",
    "timestamp-too-old",
    phase=Phase.TIME,
    column=lambda times, context: times.first < context.earliest,
    english="timestamp is older than what is still taken.",
    spanish="timestamp es más antiguo de lo que aún se acepta.",
    applies_to=[Example(timestamp="-34560000")],
    passes=[Example(timestamp="-34559999")],
)
def timestamp_too_old(moment: Moment, context: Context) -> bool:
    """contracts/openapi/input.yaml: more than 400 days before received-at; configurable per source."""
    return moment.timestamp is not None and moment.timestamp < context.earliest


@rule(
    "RV-10",
    "span-too-long",
    phase=Phase.TIME,
    column=lambda times, context: times.last - times.first > context.limits.max_span_seconds,
    english="The measure lies more than a day before the newest one of its record. Send each day by itself.",
    spanish="La medición es más de un día anterior a la más reciente de su registro. Envíe cada día por separado.",
    applies_to=[Example(timestamp="-86401", newest="0")],
    passes=[Example(timestamp="-86400", newest="0"), Example(timestamp="-86401", newest="901")],
)
def span_too_long(moment: Moment, context: Context) -> bool:
    """contracts/openapi/input.yaml; the newest is one within the window, so that a wild clock hurts only itself."""
    if moment.timestamp is None or moment.newest is None:
        return False
    return moment.timestamp < moment.newest - context.limits.max_span_seconds


@rule(
    "RV-11",
    "too-many-measures",
    phase=Phase.TIME,
    column=lambda times, context: times.measures > context.limits.max_measures,
    english="The record has more measures than are taken at once; those beyond the limit are refused. Send fewer.",
    spanish="El registro tiene más mediciones de las que se toman a la vez; las que exceden se rechazan. Envíe menos.",
    applies_to=[Example(measures=101)],
    passes=[Example(measures=100)],
)
def too_many_measures(moment: Moment, context: Context) -> bool:
    """contracts/openapi/input.yaml: the first 100 are validated by the other rules alone."""
    return moment.place >= context.limits.max_measures


@rule(
    "RV-17",
    "too-many-values",
    phase=Phase.TIME,
    column=lambda times, context: times.values > context.limits.max_values,
    effect=Effect.COUNTED,
    english="The record has more values than are taken at once; measures beyond the limit are refused. Send fewer.",
    spanish="El registro tiene más valores de los que se toman a la vez; las mediciones que exceden se rechazan.",
    applies_to=[Example(entries=10_001)],
    passes=[Example(entries=10_000)],
)
def too_many_values(moment: Moment, context: Context) -> bool:
    """contracts/openapi/input.yaml: 10,000 values; a measure that passes them is counted and not looked at."""
    return moment.values > context.limits.max_values
