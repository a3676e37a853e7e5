"""What may be said about a connection to Kafka or PostgreSQL: a combination that cannot be meant stops the start."""

import ssl
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Annotated, Protocol
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, SecretStr

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES = ("sslrootcert", "sslcert", "sslkey")


class WrongCombinationError(ValueError):
    """Settings that are right one by one and wrong together; the text has a line for each, with its name in front."""


class KafkaConnection(Protocol):
    """What is looked at of `settings.KafkaSettings`."""

    @property
    def security_protocol(self) -> str: ...

    @property
    def sasl_mechanism(self) -> str | None: ...

    @property
    def sasl_username(self) -> str | None: ...

    @property
    def sasl_password(self) -> SecretStr | None: ...

    @property
    def ssl_cafile(self) -> Path | None: ...

    @property
    def ssl_certfile(self) -> Path | None: ...

    @property
    def ssl_keyfile(self) -> Path | None: ...


def check_kafka(settings: KafkaConnection) -> None:
    """Raises `WrongCombinationError`."""
    faults = [*_sasl_faults(settings), *_tls_faults(settings)]
    if faults:
        raise WrongCombinationError("\n".join(faults))


def tls_context(settings: KafkaConnection) -> ssl.SSLContext | None:
    """Checks the brokers' certificates and their names, and shows its own where there is one; None without TLS."""
    if not settings.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=settings.ssl_cafile)
    if settings.ssl_certfile is not None:
        context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
    return context


def _sasl_faults(settings: KafkaConnection) -> Iterator[str]:
    given = {
        "KAFKA_SASL_MECHANISM": settings.sasl_mechanism,
        "KAFKA_SASL_USERNAME": settings.sasl_username,
        "KAFKA_SASL_PASSWORD": settings.sasl_password,
    }
    protocol = settings.security_protocol
    for name, value in given.items():
        if protocol.startswith("SASL") and value is None:
            yield f"{name}: is not set, and KAFKA_SECURITY_PROTOCOL={protocol} needs it"
        if not protocol.startswith("SASL") and value is not None:
            yield f"{name}: is set, and KAFKA_SECURITY_PROTOCOL={protocol} does not send it"
    if protocol == "SASL_PLAINTEXT" and settings.sasl_mechanism == "PLAIN":
        yield "KAFKA_SASL_MECHANISM: PLAIN without TLS shows the password to all; take SCRAM-SHA-512 or SASL_SSL"


def _tls_faults(settings: KafkaConnection) -> Iterator[str]:
    given = {
        "KAFKA_SSL_CAFILE": settings.ssl_cafile,
        "KAFKA_SSL_CERTFILE": settings.ssl_certfile,
        "KAFKA_SSL_KEYFILE": settings.ssl_keyfile,
    }
    files = {name: file for name, file in given.items() if file is not None}
    if not settings.security_protocol.endswith("SSL"):
        for name in files:
            yield f"{name}: is set, and KAFKA_SECURITY_PROTOCOL={settings.security_protocol} has no TLS"
    elif missing := [f"{name}: there is no file {file}" for name, file in files.items() if not file.is_file()]:
        yield from missing
    elif (settings.ssl_certfile is None) != (settings.ssl_keyfile is None):
        absent, present = _sorted_by_presence("KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE", files)
        yield f"{absent}: is not set, and {present} is of no use without it"
    else:
        yield from _unusable_files(settings)


def _sorted_by_presence(one: str, other: str, present: Container[str]) -> tuple[str, str]:
    return (other, one) if one in present else (one, other)


def _unusable_files(settings: KafkaConnection) -> Iterator[str]:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
    except ssl.SSLError as error:
        yield f"KAFKA_SSL_CAFILE: {settings.ssl_cafile} holds no certificate in PEM ({error})"
        return
    if settings.ssl_certfile is not None:
        try:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
        except ssl.SSLError as error:
            yield f"KAFKA_SSL_CERTFILE: {settings.ssl_certfile} does not go with KAFKA_SSL_KEYFILE ({error})"


def _check_url(secret: SecretStr) -> SecretStr:
    """Says what is wrong without showing the URL, which holds a password."""
    url = urlsplit(secret.get_secret_value())
    if url.scheme not in ("postgresql", "postgres") or not url.path.strip("/"):
        raise ValueError("it must read postgresql://role:password@host:port/database")
    options = {name: values[-1] for name, values in parse_qs(url.query).items()}
    mode = options.get("sslmode", "prefer")
    if mode not in SSL_MODES:
        raise ValueError(f"its sslmode must be one of {', '.join(SSL_MODES)}")
    if mode.startswith("verify") and "sslrootcert" not in options:
        raise ValueError(f"its sslmode={mode} needs sslrootcert, the PEM file of the server's authority")
    for name in _FILES:
        if name in options and not Path(options[name]).is_file():
            raise ValueError(f"its {name} names a file that is not there")
    return secret


DatabaseUrl = Annotated[SecretStr, AfterValidator(_check_url)]
"""`postgresql://…`; in production with `?sslmode=verify-full&sslrootcert=FILE`."""
