"""The prober's settings, `PROBER_…`: the only reader of the environment."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from metering_common.service.settings import ProcessSettings


class ProberSettings(ProcessSettings):
    """It needs the public API and the read-only role, and no Kafka."""

    model_config = SettingsConfigDict(env_prefix="PROBER_")

    api_url: str = Field(pattern=r"^https?://[^/]+$", description="the platform's base URL as gateways see it")
    ca_file: Path | None = Field(None, description="PEM file of an authority to trust besides the system's")
    database_url: SecretStr = Field(description="postgresql://… of the storage database, as role storage_reader")
    state_directory: Path = Field(description="folder of the token pair; it survives restarts and is writable")
    token_file: Path = Field(description="where the issued refresh token lies, as JSON or bare; it may come later")
    device_number: str = Field("prober", description="number of the synthetic device")
    sensor_name: str = Field("Corriente A", description="the sensor that the series is sent as")
    every_seconds: int = Field(30, ge=1, description="between two measures; the device's interval")
    wait_seconds: float = Field(20, gt=0, description="how long a measure is looked for in SQL")
    answer_seconds: float = Field(10, gt=0, description="how long an answer of the public API may take")
    inspect_seconds: float = Field(60, gt=0, description="between two readings of what SQL knows")
    silent_hours: float = Field(6, gt=0, description="a gateway that has not sent for so long is silent")
    certificates: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="comma-separated host:port of further servers whose certificate is watched, Kafka's for one"
    )

    @field_validator("certificates", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
