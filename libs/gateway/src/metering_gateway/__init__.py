"""The reference gateway client: store and forward of measures to the ChileMedido input API."""

from metering_gateway.api import InvalidUrlError
from metering_gateway.domain.measures import Measure, SensorValues, UnstorableMeasureError
from metering_gateway.domain.pace import BackOff
from metering_gateway.gateway import AnotherSenderError, Gateway, GatewayConfig
from metering_gateway.notices import Notice, Notify
from metering_gateway.summary import Figures, Summary
from metering_gateway.token_file import NoTokenError
from metering_gateway.tokens import CredentialsRefusedError

__all__ = [
    "AnotherSenderError",
    "BackOff",
    "CredentialsRefusedError",
    "Figures",
    "Gateway",
    "GatewayConfig",
    "InvalidUrlError",
    "Measure",
    "NoTokenError",
    "Notice",
    "Notify",
    "SensorValues",
    "Summary",
    "UnstorableMeasureError",
]
