"""When a server's certificate ends, asked in a TLS handshake that trusts anybody: an ended one must show too."""

import asyncio
import ssl
import struct
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

HANDSHAKE_SECONDS = 10.0
_SSL_REQUEST = struct.pack("!II", 8, 80_877_103)  # how PostgreSQL is asked for TLS


class Server(NamedTuple):
    """Where to ask; PostgreSQL speaks its own protocol first."""

    host: str
    port: int
    postgres: bool = False


def servers(api_url: str, database_url: str, further: tuple[str, ...]) -> dict[str, Server]:
    """Those of the prober's own addresses that may have a certificate, and the further ones (`host:port`)."""
    named: dict[str, Server] = {}
    api, database = urlsplit(api_url), urlsplit(database_url)
    if api.scheme == "https" and api.hostname:
        named["ingest_api"] = Server(api.hostname, api.port or 443)
    if database.hostname:
        named["database"] = Server(database.hostname, database.port or 5432, postgres=True)
    for address in further:
        host, _, port = address.rpartition(":")
        named[address] = Server(host, int(port))
    return named


async def expiry(server: Server) -> datetime | None:
    """None where the server speaks no TLS. Raises OSError and TimeoutError."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(HANDSHAKE_SECONDS):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            if server.postgres:
                writer.write(_SSL_REQUEST)
                if await reader.read(1) != b"S":
                    return None
            await writer.start_tls(context, server_hostname=server.host)
            encoded = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.close()
    return x509.load_der_x509_certificate(encoded).not_valid_after_utc
