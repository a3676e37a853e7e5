"""A storage database with the writer's schema, by its migrations (the prober imports no service); certificates."""

import ipaddress
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_local.checkout import PROGRAMS, ROOT
from metering_local.testing import FreshDatabase


@pytest.fixture
def storage(database: FreshDatabase) -> FreshDatabase:
    """With the tables of plain PostgreSQL, or of TimescaleDB where the server has it."""
    flavour = (
        "timescale"
        if database.sql("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'") == "1"
        else "plain"
    )
    folders = [f"services/writer/migrations/{part}" for part in ("common", flavour)]
    where = [part for folder in folders for part in ("--migrations-dir", str(ROOT / folder))]
    url = f"{database.owner_dsn.get_secret_value()}?sslmode=disable"
    command = [str(PROGRAMS / "dbmate"), "--url", url, "--no-dump-schema", *where, "up"]
    subprocess.run(command, check=True, capture_output=True)
    return database


@pytest.fixture
async def reader(storage: FreshDatabase) -> AsyncIterator[TimedPool]:
    """What the prober has: the read-only role."""
    async with postgres.pool(storage.dsn_for("storage_reader"), application_name="prober-test") as opened:
        yield opened


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[datetime], tuple[ssl.SSLContext, Path]]:
    """Makes one for 127.0.0.1 that ends at a time: a server's context, and the file to trust it by."""

    def make(ends: datetime) -> tuple[ssl.SSLContext, Path]:
        key, file = ec.generate_private_key(ec.SECP256R1()), tmp_path / "certificate.pem"
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ingest_api")])
        made = x509.CertificateBuilder(name, name, key.public_key(), 1, ends - timedelta(days=90), ends)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        signed = made.add_extension(address, critical=False).sign(key, hashes.SHA256())
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(signed.public_bytes(pem) + secret)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context, file

    return make
