"""What a Kafka and a PostgreSQL that trust nobody ask of a release: certificates, and a principal per component."""

import secrets
from pathlib import Path
from typing import Any

from metering_local.authority import Authority, Certificate
from metering_local.free_ports import free_port
from metering_local.kafka_security import ADMIN, MECHANISM, KafkaSecurity

PRINCIPALS = ("auth", "ingest-api", "validator", "writer", "ecl-poller", "topics")
NEXT = "next-"
"""Before a principal's name: its second user, for a change of passwords without a gap."""
CA_SECRET = "authorities"


class Locks:
    """An authority that signs both servers, and Kafka's users; `host` is where pods find the servers."""

    def __init__(self, folder: Path, host: str) -> None:
        self.host = host
        self.prefix = ""
        self.authority = Authority(folder / "authority")
        self.trusted = [self.authority]
        self._folder = folder
        self._users = {name: secrets.token_urlsafe(24) for name in (ADMIN, *_users(""), *_users(NEXT))}
        self._mtls_port = free_port()
        self._write_trusted()

    @property
    def security(self) -> KafkaSecurity:
        return KafkaSecurity(self.authority, self._users, self._mtls_port)

    @property
    def trusted_file(self) -> Path:
        """The authorities that everybody trusts now, one after the other."""
        return self._folder / "trusted.pem"

    def trust(self, *authorities: Authority) -> None:
        self.trusted = list(authorities)
        self._write_trusted()

    def next_authority(self) -> Authority:
        return Authority(self._folder / "next-authority")

    def pods_listener(self, name: str) -> dict[str, object]:
        """Kafka's listener for pods proves itself with a certificate for their address."""
        listener = f"listener.name.{name.lower()}"
        plain = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            f"{listener}.ssl.keystore.location": self.authority.issue("kafka-pods", self.host).both,
            f"{listener}.ssl.keystore.type": "PEM",
            f"{listener}.{MECHANISM.lower()}.sasl.jaas.config": plain,
        }

    def postgres_certificate(self) -> Certificate:
        return self.authority.issue("postgres", self.host)

    def password(self, component: str) -> str:
        return self._users[f"{self.prefix}{component}"]

    def values(self) -> dict[str, dict[str, Any]]:
        """The chart's."""
        usernames = {name: f"{self.prefix}{name}" for name in PRINCIPALS}
        authority = {"name": CA_SECRET, "key": "ca.crt"}
        return {
            "kafka": {
                "tls": {"enabled": True, "caSecret": authority},
                "sasl": {"mechanism": MECHANISM, "usernames": usernames},
            },
            "postgresql": {"sslMode": "verify-full", "caSecret": authority},
        }

    def environment(self, user: str) -> dict[str, str]:
        """Of one of the platform's tools that speaks to Kafka as that user."""
        return {
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": MECHANISM,
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": self._users[user],
            "KAFKA_SSL_CAFILE": str(self.trusted_file),
        }

    def _write_trusted(self) -> None:
        self.trusted_file.write_bytes(b"".join(authority.file.read_bytes() for authority in self.trusted))


def _users(prefix: str) -> list[str]:
    return [f"{prefix}{principal}" for principal in PRINCIPALS]
