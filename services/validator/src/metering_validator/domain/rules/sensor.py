"""RV-03, RV-04 and RV-16: what is asked about the name of a value."""

from metering_validator.domain.context import Context
from metering_validator.domain.examples import Example
from metering_validator.domain.rule_table import Effect, Named, Phase, asked_once, rule


@rule(
    "RV-03",
    "sensor-unknown",
    phase=Phase.SENSOR,
    column=asked_once,
    english="The sensor is not in the dictionary. Compare the name with GET /sensor-name-list.",
    spanish="El sensor no está en el diccionario. Compare el nombre con GET /sensor-name-list.",
    applies_to=[Example(name='"corriente a"')],
    passes=[Example(), Example(name='" EACTIVE "'), Example(entry="7")],
)
def sensor_unknown(named: Named, _context: Context) -> bool:
    """Names are compared after Unicode NFC and trimming, otherwise exactly; an alias is as good as the name."""
    return named.has_name and named.sensor is None


@rule(
    "RV-04",
    "sensor-not-on-list",
    phase=Phase.SENSOR,
    column=asked_once,
    effect=Effect.NOT_TAKEN,
    english="The sensor is not on the device's list, which limits what is taken from its measurements.",
    spanish="El sensor no está en la lista del dispositivo, que limita lo que se toma de sus mediciones.",
    applies_to=[Example(name='"Corriente C"')],
    passes=[Example(), Example(name='"Nadie"')],
)
def sensor_not_on_list(named: Named, context: Context) -> bool:
    """The published document, *Rules*. Not wrong, only not taken: counted, named once, and not looked at further."""
    return named.sensor is not None and context.device is not None and named.sensor.id not in context.device.sensors


@rule(
    "RV-16",
    "entry-malformed",
    phase=Phase.SENSOR,
    column=asked_once,
    english='An entry of sensorValues is not of the form {"sensorName": text, "sensorValue": number}.',
    spanish='Una entrada de sensorValues no tiene la forma {"sensorName": texto, "sensorValue": número}.',
    applies_to=[Example(entry="7"), Example(entry='{"sensorName":7,"sensorValue":1}')],
    passes=[Example(), Example("null"), Example(name='"Nadie"')],
)
def entry_malformed(named: Named, _context: Context) -> bool:
    """ingest-api looks no further than the list; what is inside is validated here, each entry by itself."""
    return not named.has_name
