"""RV-13 and RV-14: what is asked about a value that is kept."""

from metering_common.contract.messages import Quality
from metering_common.registry.documents import Sensor
from metering_validator.domain.examples import Example
from metering_validator.domain.rule_table import Effect, Phase, rule


@rule(
    "RV-13",
    "value-implausible",
    phase=Phase.QUALITY,
    column=lambda column, _context: _outside(column.least, column.sensor) or _outside(column.greatest, column.sensor),
    concerns=lambda sensor: sensor.minimum is not None or sensor.maximum is not None,
    effect=Effect.KEPT,
    quality=Quality.IMPLAUSIBLE,
    english="The value lies outside the dictionary's plausible range; it is kept with quality 1.",
    spanish="El valor está fuera del rango plausible del diccionario; se guarda con calidad 1.",
    applies_to=[Example("100.1", name='"Temperatura"'), Example("-0.1", name='"EACTIVE"')],
    passes=[Example("100", name='"Temperatura"'), Example("-50", name='"Temperatura"'), Example("1e300")],
)
def value_implausible(number: float, sensor: Sensor) -> bool:
    """The dictionary entry's `minimum` and `maximum`, both ends plausible; absent: no such check."""
    return _outside(number, sensor)


@rule(
    "RV-14",
    "sensor-fault",
    phase=Phase.QUALITY,
    column=lambda column, _context: _meets_a_fault(column.least, column.greatest, column.sensor),
    concerns=lambda sensor: bool(sensor.faults),
    effect=Effect.KEPT,
    quality=Quality.SENSOR_FAULT,
    english="The value stands for a broken sensor; it is kept with quality 3 and left out of aggregates.",
    spanish="El valor indica un sensor averiado; se guarda con calidad 3 y se excluye de los agregados.",
    applies_to=[Example("192", name='"Temperatura"'), Example("-300", name='"Temperatura"')],
    passes=[Example("191.9", name='"Temperatura"'), Example("-299.9", name='"Temperatura"'), Example("192")],
)
def sensor_fault(number: float, sensor: Sensor) -> bool:
    """The dictionary entry's `faults`: closed ranges, open where an end is absent; one value is a range to itself."""
    return _meets_a_fault(number, number, sensor)


def _outside(number: float, sensor: Sensor) -> bool:
    below = sensor.minimum is not None and number < sensor.minimum
    return below or (sensor.maximum is not None and number > sensor.maximum)


def _meets_a_fault(least: float, greatest: float, sensor: Sensor) -> bool:
    """Whether a fault range and the closed range from `least` to `greatest` have a number in common."""
    for low, high in sensor.faults:  # noqa: SIM110  asked about each value of a doubtful column: twice as quick as any()
        if (low is None or greatest >= low) and (high is None or least <= high):
            return True
    return False
