"""What every service's settings are made of: they come from the environment, and a wrong one stops the start."""

import sys
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from metering_common.service.connections import WrongCombinationError, check_kafka
from metering_common.service.secret_files import SecretFileError, SecretFiles, is_secret

SECURITY_PROTOCOLS = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
WRONG_SETTINGS = 2  # exit status


class SettingsGroup(BaseSettings):
    """Read from the environment only; an empty variable counts as absent; unknown ones are ignored.

    A secret may stand in a file instead, as Kubernetes mounts them: `NAME_FILE` names it.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_file=None, env_ignore_empty=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  given by name, not used
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFiles(settings_cls)


class KafkaSettings(SettingsGroup):
    """How Kafka is reached, `KAFKA_…`."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_")

    bootstrap_servers: str = Field(description="host:port of brokers to start from, comma-separated")
    security_protocol: SECURITY_PROTOCOLS = Field("PLAINTEXT", description="how brokers are spoken to")
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="how this process proves itself, SCRAM-SHA-512 in production"
    )
    sasl_username: str | None = Field(None, description="the SASL user")
    sasl_password: SecretStr | None = Field(None, description="the SASL password")
    ssl_cafile: Path | None = Field(None, description="PEM file of the authority that signed the brokers' certificates")
    ssl_certfile: Path | None = Field(
        None, description="PEM file of this process's own certificate, where brokers ask for one"
    )
    ssl_keyfile: Path | None = Field(None, description="PEM file of that certificate's key, not encrypted")
    environment: Literal["production", "laptop"] = Field(
        "production", description="which row of the topics' contracts is demanded"
    )

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        check_kafka(self)
        return self


class TracingSettings(SettingsGroup):
    """Where traces go, in OpenTelemetry's own variables `OTEL_…`; the SDK itself reads its others (sampling, …)."""

    model_config = SettingsConfigDict(env_prefix="OTEL_")

    exporter_otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="base URL of a collector, as http://collector:4318; no traces without",
    )
    exporter_otlp_traces_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="the whole URL for traces, where it is not the base URL's /v1/traces"
    )

    @property
    def traces_endpoint(self) -> str | None:
        """The URL, or None where nothing is traced."""
        if self.exporter_otlp_traces_endpoint is None and self.exporter_otlp_endpoint is not None:
            return f"{self.exporter_otlp_endpoint.rstrip('/')}/v1/traces"
        return self.exporter_otlp_traces_endpoint


class ProcessSettings(SettingsGroup):
    """What each process has under its own prefix."""

    admin_host: str = Field("0.0.0.0", description="address of the admin port")  # noqa: S104  probes come from outside the pod
    admin_port: int = Field(ge=0, le=65535, description="port of /healthz, /readyz and /metrics; 0 takes a free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    drain_seconds: float = Field(20, gt=0, description="how long a stop may take before the process ends by force")


class ServiceSettings(ProcessSettings):
    """What each service on Kafka has."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)


S = TypeVar("S", bound=SettingsGroup)


def load_settings(cls: type[S]) -> S:
    """The settings, or one line on stderr for each variable that is missing or wrong, and exit status 2."""
    groups, faults = _load_groups(cls)
    settings = _load(cls, groups, faults)
    if settings is None or faults:
        sys.stderr.write("".join(f"{fault}\n" for fault in faults))
        raise SystemExit(WRONG_SETTINGS)
    return settings


def _load_groups(cls: type[SettingsGroup]) -> tuple[dict[str, SettingsGroup], list[str]]:
    """Groups within the settings are read first and apart, so that one fault does not hide the others."""
    faults: list[str] = []
    groups: dict[str, SettingsGroup] = {}
    for name, field in cls.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsGroup):
            groups[name] = _load(field.annotation, {}, faults) or field.annotation.model_construct()
    return groups, faults


def _load(cls: type[S], groups: dict[str, SettingsGroup], faults: list[str]) -> S | None:
    try:
        return cls(**groups)  # type: ignore[arg-type]  # groups are fields; the rest comes from the environment
    except ValidationError as error:
        faults.extend(_fault(cls, details) for details in error.errors(include_url=False))
    except SecretFileError as error:
        faults.append(str(error))
    except SettingsError as error:
        faults.append(f"{cls.__name__}: {error}")
    return None


def _fault(cls: type[SettingsGroup], details: ErrorDetails) -> str:
    """`NAME: what is wrong (what is expected)`; a secret's value is never part of it."""
    if isinstance(wrong := details.get("ctx", {}).get("error"), WrongCombinationError):
        return str(wrong)
    name = str(details["loc"][0]) if details["loc"] else ""
    field = cls.model_fields.get(name)
    prefix = cls.model_config.get("env_prefix", "") if field is not None else ""
    expected = f" ({field.description})" if field is not None and field.description else ""
    return f"{prefix}{name}".upper() + f": {_what_is_wrong(field, details)}{expected}"


def _what_is_wrong(field: FieldInfo | None, details: ErrorDetails) -> str:
    if details["type"] == "missing":
        return "is not set"
    given = details["input"]
    text = given.get_secret_value() if isinstance(given, SecretStr) else str(given)
    message = details["msg"].replace("\n", " ")
    if field is None or is_secret(field):
        return message.replace(text, "…") if text else message
    return f"{message}, it is {text!r}"
