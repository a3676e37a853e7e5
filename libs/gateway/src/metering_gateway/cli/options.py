"""The options that commands share, each a dataclass that the command line fills."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from metering_gateway.domain.pace import BackOff
from metering_gateway.gateway import GatewayConfig

Positive = Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1e12))]
Whole = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Wait = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=10))]
Yes = Annotated[bool, Parameter(negative=())]


class UnreadableInputError(Exception):
    """What the user gave cannot be used; the message says what is expected."""


@Parameter(name="*")
@dataclass(frozen=True)
class Place:
    """Which gateway this is.

    Args:
        state: outbox and token of this gateway.
        json: one JSON document on standard output, no progress.

    """

    state: Annotated[Path, Parameter(env_var="METERING_GATEWAY_STATE")] = Path(".metering-gateway")
    json: Yes = False


@Parameter(name="*")
@dataclass(frozen=True)
class Connection:
    """How the platform is reached.

    Args:
        url: the platform's base URL without a path.
        answer_seconds: the longest wait for one answer; a request that needs more is sent again in smaller parts.
        ca_file: an authority to trust besides the system's (PEM).
        proxy: URL of an HTTP proxy.
        client_certificate: certificate to show to a server that asks for one (PEM).
        client_key: its key, if it is in a file of its own.

    """

    url: Annotated[str | None, Parameter(env_var="METERING_API_URL")] = None
    answer_seconds: Positive = 30.0
    ca_file: Annotated[Path | None, Parameter(env_var="METERING_GATEWAY_CA_FILE")] = None
    proxy: Annotated[str | None, Parameter(env_var="METERING_GATEWAY_PROXY")] = None
    client_certificate: Path | None = None
    client_key: Path | None = None


@Parameter(name="*")
@dataclass(frozen=True)
class Sending:
    """How it is sent.

    Args:
        wait: seconds to wait for the platform's result inside each answer (0 to 10).
        results: read afterwards what became of each request's values.
        first_wait: wait after a first failure, in seconds; doubles up to 5 minutes, with jitter.
        give_up_after: stop sending after so many seconds; what is left stays in the outbox.

    """

    wait: Wait = 0
    results: bool = True
    first_wait: Positive = 1.0
    give_up_after: Positive | None = None


@dataclass(frozen=True)
class Options:
    """All three, for a command that sends."""

    place: Place = field(default_factory=Place)
    connection: Connection = field(default_factory=Connection)
    sending: Sending = field(default_factory=lambda: Sending(results=False))

    def config(self) -> GatewayConfig:
        """Raises UnreadableInputError without a URL."""
        connection = self.connection
        if not connection.url:
            raise UnreadableInputError("where is the platform? --url or METERING_API_URL, without a path")
        return GatewayConfig(
            connection.url,
            self.place.state,
            wait_seconds=self.sending.wait,
            follow_results=self.sending.results,
            answer_seconds=connection.answer_seconds,
            back_off=BackOff(first_seconds=self.sending.first_wait),
            ca_file=connection.ca_file,
            proxy=connection.proxy,
            client_certificate=connection.client_certificate,
            client_key=connection.client_key,
        )


End = Literal["as-is", "today", "yesterday"] | date
