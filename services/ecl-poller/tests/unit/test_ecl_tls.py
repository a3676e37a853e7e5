"""HTTPS against the emulator with a certificate of its own, and the redirect of plain HTTP, which is never followed."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from metering_common.service.clock import ManualClock
from metering_ecl_poller.adapters.portal.client import PortalClient
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.bootstrap import open_session
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.errors import PortalRefusedError, PortalUnreachableError
from metering_ecl_poller.settings import ConnectorSettings
from tests.emulators.ecl_portal import fleet, server
from tests.emulators.ecl_portal.connected import NOON_MS, CollectedAnswers
from tests.emulators.ecl_portal.virtual_clock import VirtualClock

pytestmark = pytest.mark.fast


@dataclass
class Secure:
    emulator: server.Emulator
    authority: Path

    async def ask(self, base_url: str, authority: Path | None) -> str | None:
        settings = ConnectorSettings(
            database_url=SecretStr("postgresql://poller:unused@127.0.0.1:1/ecl"),
            key_encryption_key=SecretStr("A" * 43),
            ca_file=authority,
        )
        account = PortalAccount(base_url, str(fleet.FIRST_SERIAL), fleet.SERVER_CODE, fleet.ACCESS_CODE)
        async with open_session(settings) as session:
            client = PortalClient(session, load_dialect(), ManualClock(NOON_MS), CollectedAnswers())
            return (await client.master_data(account)).serial


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Secure]:
    pem = tmp_path / "portal.pem"
    pem.write_bytes(certificate())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    async with server.run(server.Options(dk_count=1, clock=VirtualClock(NOON_MS, 0), tls=context)) as emulator:
        yield Secure(emulator, pem)


def certificate() -> bytes:
    """Key and self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emulated portal")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + made.public_bytes(serialization.Encoding.PEM)


async def test_https_with_a_known_authority(secure: Secure) -> None:
    assert await secure.ask(secure.emulator.dk_url, secure.authority) == str(fleet.FIRST_SERIAL)


async def test_a_certificate_of_an_unknown_authority_is_no_answer(secure: Secure) -> None:
    with pytest.raises(PortalUnreachableError, match="Certificate"):
        await secure.ask(secure.emulator.dk_url, None)


async def test_the_redirect_from_http_is_not_followed_since_the_codes_would_go_with_it(secure: Secure) -> None:
    with pytest.raises(PortalRefusedError, match="HTTP 301") as raised:
        await secure.ask(secure.emulator.redirect_url, secure.authority)
    assert fleet.ACCESS_CODE not in str(raised.value)
