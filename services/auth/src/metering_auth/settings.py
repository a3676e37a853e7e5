"""What the environment tells auth; the only reader of it."""

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from metering_auth.domain.keys import KeyTimes
from metering_auth.domain.token_pairs import Lifetimes
from metering_common.contract.limits import DAY_SECONDS
from metering_common.service.connections import DatabaseUrl
from metering_common.service.sealed import Keyring, MasterKey
from metering_common.service.settings import KafkaSettings, ServiceSettings, SettingsGroup

Network = IPv4Network | IPv6Network


class DatabaseSettings(SettingsGroup):
    """What every command of `metering-admin` needs."""

    model_config = SettingsConfigDict(env_prefix="AUTH_")

    database_url: DatabaseUrl = Field(description="postgresql://auth_service:…@host/auth?sslmode=verify-full&…")


class StoreSettings(DatabaseSettings):
    """What the service and the commands about tokens and keys both need: the master key, the lifetimes."""

    key_encryption_key: SecretStr = Field(description="master key of the signing keys: 32 bytes in base64url")
    key_encryption_key_previous: SecretStr | None = Field(
        None, description="the master key before, until `metering-admin key rewrap` has run"
    )
    access_lifetime_seconds: int = Field(10_800, ge=60, description="how long an access token is valid")
    refresh_lifetime_seconds: int = Field(60 * DAY_SECONDS, ge=3_600, description="how long a refresh token is valid")
    key_publish_seconds: float = Field(300, ge=0, description="how long a key is on the registry topic before it signs")
    key_active_seconds: float = Field(30 * DAY_SECONDS, gt=0, description="how long a key signs before the next does")

    @field_validator("key_encryption_key", "key_encryption_key_previous")
    @classmethod
    def _is_master_key(cls, text: SecretStr | None) -> SecretStr | None:
        if text is not None:
            MasterKey.parse(text)
        return text

    def lifetimes(self) -> Lifetimes:
        return Lifetimes(
            access=timedelta(seconds=self.access_lifetime_seconds),
            refresh=timedelta(seconds=self.refresh_lifetime_seconds),
        )

    def key_times(self) -> KeyTimes:
        lifetimes = self.lifetimes()
        return KeyTimes(
            publish=timedelta(seconds=self.key_publish_seconds),
            active=timedelta(seconds=self.key_active_seconds),
            access_lifetime=lifetimes.access,
            refresh_lifetime=lifetimes.refresh,
        )

    def keyring(self) -> Keyring:
        previous = self.key_encryption_key_previous
        older = [] if previous is None else [MasterKey.parse(previous)]
        return Keyring(MasterKey.parse(self.key_encryption_key), older)


class AuthSettings(StoreSettings, ServiceSettings):
    """The service's settings, `AUTH_…`."""

    model_config = SettingsConfigDict(env_prefix="AUTH_")  # of two bases, the last one's would hold

    http_host: str = Field("0.0.0.0", description="address of the API")  # noqa: S104  the load balancer comes from outside the pod
    http_port: int = Field(ge=0, le=65535, description="port of the API; 0 takes a free one")
    public_url: str = Field(pattern=r"^https?://[^/]+$", description="base URL as clients see it: OAuth's issuer")
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="comma-separated networks whose X-Forwarded-For is trusted",
    )
    failures_per_address_per_minute: int = Field(
        600, gt=0, description="failed attempts of one address at this process; tokens signed by auth do not count"
    )
    attempts_per_gateway_per_minute: int = Field(
        60, gt=0, description="refresh attempts of one gateway, or with one token, at this process"
    )
    max_body_bytes: int = Field(16_384, gt=0, description="largest body of a request")
    body_seconds: float = Field(10, gt=0, description="how long a request's body may take to arrive")
    database_connections: int = Field(10, gt=0, description="connections to PostgreSQL of one process")
    schedule_seconds: float = Field(2, gt=0, description="how often the keys' schedule is looked at")
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
        return value
