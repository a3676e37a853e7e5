"""A local Kafka that trusts nobody: TLS, SCRAM or client certificates, and an authorizer that refuses by default."""

from dataclasses import dataclass, field

from metering_local.authority import Authority
from metering_local.process import HOST

BROKER = "kafka"
"""The broker's own name, and with ADMIN the only ones that need no ACL."""
ADMIN = "admin"
MECHANISM = "SCRAM-SHA-512"


@dataclass(frozen=True)
class KafkaSecurity:
    """Users by name with their passwords, ADMIN among them; `mtls_port` takes client certificates instead.

    A certificate's common name is the same principal as the user of that name.
    """

    authority: Authority
    users: dict[str, str] = field(repr=False)
    mtls_port: int

    def format_options(self) -> list[str]:
        """The users stand in the cluster's metadata from its first moment on."""
        scram = [f"{MECHANISM}=[name={name},password={password}]" for name, password in self.users.items()]
        return [part for one in scram for part in ("--add-scram", one)]

    def properties(self, port: int, controller_port: int) -> dict[str, object]:
        """What replaces the plain listeners of `server.properties`."""
        certificate = self.authority.issue(BROKER)
        clients, mtls = f"SASL_SSL://{HOST}:{port}", f"SSL://{HOST}:{self.mtls_port}"
        return {
            "listeners": f"{clients},{mtls},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": f"{clients},{mtls}",
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "SSL",
            "listener.name.ssl.ssl.client.auth": "required",
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": certificate.both,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.file,
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "sasl.enabled.mechanisms": MECHANISM,
            f"listener.name.sasl_ssl.{MECHANISM.lower()}.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{BROKER};User:{ADMIN}",
            "broker.session.timeout.ms": 18_000,  # handshakes are slow while Java is cold; nobody kills this broker
            "broker.heartbeat.interval.ms": 2_000,
        }
