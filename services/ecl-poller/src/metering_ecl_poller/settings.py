"""The settings of the poller and its tool: the only reader of the environment."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from metering_common.service.connections import DatabaseUrl
from metering_common.service.sealed import MasterKey
from metering_common.service.settings import KafkaSettings, ServiceSettings, SettingsGroup
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.domain.portal.dialect import DialectError


class ConnectorSettings(SettingsGroup):
    """What service and tool share, `ECL_…`."""

    model_config = SettingsConfigDict(env_prefix="ECL_")

    database_url: DatabaseUrl = Field(description="postgresql:// of the poller's own database")
    key_encryption_key: SecretStr = Field(description="32 bytes in base64url: the portal's codes are sealed under it")
    key_encryption_key_previous: SecretStr | None = Field(
        None, description="the master key before, until `metering-ecl controller rewrap` has run"
    )
    dialect_file: Path | None = Field(None, description="TOML file over the built-in table of the portal's names")
    ca_file: Path | None = Field(None, description="PEM file of an authority to trust besides the system's")
    request_timeout_seconds: float = Field(30, gt=0, description="how long one answer of the portal may take")
    lease_seconds: float = Field(120, ge=1, description="after which a killed replica's controllers are taken over")

    @field_validator("key_encryption_key", "key_encryption_key_previous")
    @classmethod
    def _is_a_key(cls, text: SecretStr | None) -> SecretStr | None:
        """Raises ValueError without the text in it."""
        if text is not None:
            MasterKey.parse(text)
        return text

    @field_validator("dialect_file")
    @classmethod
    def _is_a_dialect(cls, path: Path | None) -> Path | None:
        try:
            load_dialect(path)
        except DialectError as error:
            raise ValueError(str(error)) from None
        return path


class EclToolSettings(ConnectorSettings):
    """metering-ecl."""

    server_code: SecretStr | None = Field(None, description="issued by the vendor; `controller add` takes it from here")
    access_code: SecretStr | None = Field(None, description="made by the customer; `controller add` takes it from here")
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)


class PollerSettings(ServiceSettings, ConnectorSettings):
    """The service."""

    model_config = SettingsConfigDict(env_prefix="ECL_")

    max_requests: int = Field(64, ge=1, le=1_000, description="requests to the portals in flight at once")
    idle_seconds: float = Field(1, gt=0, description="pause between two looks for controllers that are due")
