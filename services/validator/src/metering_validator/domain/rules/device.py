"""RV-01, RV-02 and RV-15: what is asked about a record as a whole."""

from metering_common.contract.messages import Quality
from metering_validator.domain.context import Context
from metering_validator.domain.examples import Example, Sender
from metering_validator.domain.rule_table import Effect, Phase, asked_once, rule


@rule(
    "RV-01",
    "device-unknown",
    phase=Phase.DEVICE,
    column=asked_once,
    english="The device is not registered for this provider. Keep the data and send it again after registration.",
    spanish="El dispositivo no está registrado para este proveedor. Conserve los datos y reenvíelos tras el registro.",
    applies_to=[Example(sender=Sender.UNKNOWN), Example(sender=Sender.OF_ANOTHER)],
    passes=[Example()],
)
def device_unknown(context: Context) -> bool:
    """ingest-api finds devices; this holds for what came by another way and for a device removed since."""
    return context.device is None or context.device.provider != context.headers.provider_id


@rule(
    "RV-02",
    "device-inactive",
    phase=Phase.DEVICE,
    column=asked_once,
    english="The device is registered but inactive: nothing is taken from it until it is activated again.",
    spanish="El dispositivo está registrado pero inactivo: no se toma nada de él hasta que se active de nuevo.",
    applies_to=[Example(sender=Sender.INACTIVE)],
    passes=[Example(), Example(sender=Sender.UNKNOWN)],
)
def device_inactive(context: Context) -> bool:
    """contracts/openapi/input.yaml: an inactive device is accepted at ingest-api and refused by rule."""
    return context.device is not None and not context.device.active and not device_unknown.applies(context)


@rule(
    "RV-15",
    "clock-doubtful",
    phase=Phase.DEVICE,
    column=asked_once,
    effect=Effect.KEPT,
    quality=Quality.CLOCK_DOUBTFUL,
    english="The sender calls its clock doubtful; all values of the record are kept with quality 2 or worse.",
    spanish="El remitente declara dudoso su reloj; todos los valores del registro se guardan con calidad 2 o peor.",
    applies_to=[Example(clock_doubtful=True)],
    passes=[Example()],
)
def clock_doubtful(context: Context) -> bool:
    """The header that the poller sets when a controller's own clock is off."""
    return context.headers.clock_doubtful
