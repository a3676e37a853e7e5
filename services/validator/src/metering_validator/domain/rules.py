"""The rules of validation, RV-01 to RV-16: the validator asks each of them about every record, measure or value.

A rule looks only at its arguments and never raises. docs/rules.md is made from here by `rules_page`.
"""

from typing import NamedTuple

from metering_common.contract.messages import Quality
from metering_common.registry.documents import Sensor
from metering_validator.domain.catalogue import CATALOGUE, Effect, Rule, rule
from metering_validator.domain.context import MILLISECONDS_FROM, Context
from metering_validator.domain.measures import Json


class Moment(NamedTuple):
    """A measure's place and time as the rules see them."""

    place: int
    """Which measure of the record it is, from 0."""
    timestamp: int | None
    """None where what came is no integer."""
    newest: int | None
    """The latest timestamp of the record that is within the window."""


class Value(NamedTuple):
    """One entry of a measure's `sensorValues` as the rules see it."""

    name: str | None
    """None where the entry is no object with a text for a name."""
    sensor: Sensor | None
    number: float | None
    """None where what came is no finite JSON number."""
    came: Json


# About the device: these refuse every value of the record.


@rule(
    "RV-01",
    "device-unknown",
    english="The device is not registered for this provider. Keep the data and send it again after registration.",
    spanish="El dispositivo no está registrado para este proveedor. Conserve los datos y reenvíelos tras el registro.",
)
def device_unknown(context: Context) -> bool:
    """ingest-api finds devices; this holds for what came by another way and for a device removed since."""
    return context.device is None or context.device.provider != context.headers.provider_id


@rule(
    "RV-02",
    "device-inactive",
    english="The device is registered but inactive: nothing is taken from it until it is activated again.",
    spanish="El dispositivo está registrado pero inactivo: no se toma nada de él hasta que se active de nuevo.",
)
def device_inactive(context: Context) -> bool:
    """contracts/openapi/input.yaml: an inactive device is accepted at ingest-api and refused by rule."""
    return context.device is not None and not context.device.active and not device_unknown(context)


# About the sensor's name.


@rule(
    "RV-03",
    "sensor-unknown",
    english="The sensor is not in the dictionary. Compare the name with GET /sensor-name-list.",
    spanish="El sensor no está en el diccionario. Compare el nombre con GET /sensor-name-list.",
)
def sensor_unknown(value: Value, _context: Context) -> bool:
    """Names are compared after Unicode NFC and trimming, otherwise exactly; an alias is as good as the name."""
    return value.name is not None and value.sensor is None


@rule(
    "RV-04",
    "sensor-not-on-list",
    effect=Effect.NOT_TAKEN,
    english="The sensor is not on the device's list, which limits what is taken from its measurements.",
    spanish="El sensor no está en la lista del dispositivo, que limita lo que se toma de sus mediciones.",
)
def sensor_not_on_list(value: Value, context: Context) -> bool:
    """The published document, *Rules*. Not wrong, only not taken: counted, named once, and not looked at further."""
    return value.sensor is not None and context.device is not None and value.sensor.id not in context.device.sensors


# About the value.


@rule(
    "RV-05",
    "value-not-a-number",
    english="sensorValue is not a finite JSON number: no text, null, boolean, NaN, Infinity or number beyond a double.",
    spanish="sensorValue no es un número JSON finito: ni texto, null, booleano, NaN, Infinity ni más que un double.",
)
def value_not_a_number(value: Value, _context: Context) -> bool:
    """contracts/openapi/input.yaml: these are refusals by rule, not errors of the request."""
    return value.name is not None and value.number is None


# About the time: at most one of these holds for a measure.


@rule(
    "RV-06",
    "timestamp-not-an-integer",
    english="timestamp is not an integer. Send Unix seconds without a fraction, not in quotes.",
    spanish="timestamp no es un entero. Envíe segundos Unix sin fracción y sin comillas.",
)
def timestamp_not_an_integer(moment: Moment, _context: Context) -> bool:
    """contracts/openapi/input.yaml: `1566226133.0` too passes ingest-api and is refused alone."""
    return moment.timestamp is None


@rule(
    "RV-07",
    "timestamp-in-milliseconds",
    english="timestamp looks like milliseconds (or finer). Send Unix seconds: it is never guessed.",
    spanish="timestamp parece estar en milisegundos (o menos). Envíe segundos Unix: nunca se adivina.",
)
def timestamp_in_milliseconds(moment: Moment, _context: Context) -> bool:
    """Integers from 10^11 on, as at ingest-api."""
    return moment.timestamp is not None and moment.timestamp >= MILLISECONDS_FROM


@rule(
    "RV-08",
    "timestamp-in-the-future",
    english="timestamp lies in the future. Correct the gateway's clock by GET /server-time.",
    spanish="timestamp está en el futuro. Corrija el reloj del gateway con GET /server-time.",
)
def timestamp_in_the_future(moment: Moment, context: Context) -> bool:
    """contracts/openapi/input.yaml: more than 900 s after received-at."""
    return moment.timestamp is not None and context.latest < moment.timestamp < MILLISECONDS_FROM


@rule(
    "RV-09",
    "timestamp-too-old",
    english="timestamp is older than what is still taken.",
    spanish="timestamp es más antiguo de lo que aún se acepta.",
)
def timestamp_too_old(moment: Moment, context: Context) -> bool:
    """contracts/openapi/input.yaml: more than 400 days before received-at; configurable per source."""
    return moment.timestamp is not None and moment.timestamp < context.earliest


# ingest-api's limits again, for what came by another way.


@rule(
    "RV-10",
    "span-too-long",
    english="The measure lies more than a day before the newest one of its record. Send each day by itself.",
    spanish="La medición es más de un día anterior a la más reciente de su registro. Envíe cada día por separado.",
)
def span_too_long(moment: Moment, context: Context) -> bool:
    """contracts/openapi/input.yaml; the newest is one within the window, so that a wild clock hurts only itself."""
    if moment.timestamp is None or moment.newest is None:
        return False
    return moment.timestamp < moment.newest - context.limits.max_span_seconds


@rule(
    "RV-11",
    "too-many-measures",
    english="The record has more measures than are taken at once; those beyond the limit are refused. Send fewer.",
    spanish="El registro tiene más mediciones de las que se toman a la vez; las que exceden se rechazan. Envíe menos.",
)
def too_many_measures(moment: Moment, context: Context) -> bool:
    """contracts/openapi/input.yaml: the first 100 are validated by the other rules alone."""
    return moment.place >= context.limits.max_measures


# Among the values of one record that no rule above refuses.


@rule(
    "RV-12",
    "superseded-in-record",
    english="The same sensor has another value at the same timestamp later in this record: the last one counts.",
    spanish="El mismo sensor tiene otro valor con el mismo timestamp más adelante en este registro: cuenta el último.",
)
def superseded_in_record(number: float, last: float) -> bool:
    """docs/adr/0004: within one record the later position wins. Equal values are repeated, not refused."""
    return number != last


# About the value as it is kept.


@rule(
    "RV-13",
    "value-implausible",
    effect=Effect.KEPT,
    quality=Quality.IMPLAUSIBLE,
    english="The value lies outside the dictionary's plausible range; it is kept with quality 1.",
    spanish="El valor está fuera del rango plausible del diccionario; se guarda con calidad 1.",
)
def value_implausible(number: float, sensor: Sensor) -> bool:
    """The dictionary entry's `minimum` and `maximum`, both ends plausible; absent: no such check."""
    below = sensor.minimum is not None and number < sensor.minimum
    return below or (sensor.maximum is not None and number > sensor.maximum)


@rule(
    "RV-14",
    "sensor-fault",
    effect=Effect.KEPT,
    quality=Quality.SENSOR_FAULT,
    english="The value stands for a broken sensor; it is kept with quality 3 and left out of aggregates.",
    spanish="El valor indica un sensor averiado; se guarda con calidad 3 y se excluye de los agregados.",
)
def sensor_fault(number: float, sensor: Sensor) -> bool:
    """The dictionary entry's `fault`: at or above it when positive, at or below it when negative."""
    if sensor.fault is None:
        return False
    return number >= sensor.fault if sensor.fault >= 0 else number <= sensor.fault


@rule(
    "RV-15",
    "clock-doubtful",
    effect=Effect.KEPT,
    quality=Quality.CLOCK_DOUBTFUL,
    english="The sender calls its clock doubtful; all values of the record are kept with quality 2 or worse.",
    spanish="El remitente declara dudoso su reloj; todos los valores del registro se guardan con calidad 2 o peor.",
)
def clock_doubtful(context: Context) -> bool:
    """The header that the poller sets when a controller's own clock is off."""
    return context.headers.clock_doubtful


@rule(
    "RV-16",
    "entry-malformed",
    english='An entry of sensorValues is not of the form {"sensorName": text, "sensorValue": number}.',
    spanish='Una entrada de sensorValues no tiene la forma {"sensorName": texto, "sensorValue": número}.',
)
def entry_malformed(value: Value, _context: Context) -> bool:
    """ingest-api looks no further than the list; what is inside is validated here, each entry by itself."""
    return value.name is None


RECORD_RULES: tuple[Rule[[Context]], ...] = (device_unknown, device_inactive)
MOMENT_RULES: tuple[Rule[[Moment, Context]], ...] = (
    timestamp_not_an_integer,
    timestamp_in_milliseconds,
    timestamp_in_the_future,
    timestamp_too_old,
    span_too_long,
    too_many_measures,
)
WINDOW_RULES = MOMENT_RULES[:4]
VALUE_RULES: tuple[Rule[[Value, Context]], ...] = (sensor_unknown, value_not_a_number, entry_malformed)
QUALITY_RULES: tuple[Rule[[float, Sensor]], ...] = (value_implausible, sensor_fault)

__all__ = [
    "CATALOGUE",
    "MOMENT_RULES",
    "QUALITY_RULES",
    "RECORD_RULES",
    "VALUE_RULES",
    "WINDOW_RULES",
    "Moment",
    "Value",
    "clock_doubtful",
    "sensor_not_on_list",
    "superseded_in_record",
]
