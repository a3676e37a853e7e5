"""A throw-away certificate authority for the servers on a measure's way, where tests want TLS on this machine."""

from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from metering_local.process import HOST


class Certificate(NamedTuple):
    """Two PEM files, and the same in one as Kafka wants it."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """Its certificate is in `file`; what it issues lies beside it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "ca.pem"
        self._directory = directory
        self._authority = trustme.CA(organization_name="metering throw-away authority")
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, name: str, host: str = HOST) -> Certificate:
        """For a server on `host` and for a client whose name is `name`; keys are of mode 600."""
        leaf = self._authority.issue_cert(name, host, common_name=name)
        files = Certificate(*(self._directory / f"{name}.{kind}" for kind in ("crt", "key", "pem")))
        certificate, key = leaf.cert_chain_pems[0].bytes(), _pkcs8(leaf.private_key_pem.bytes())
        for file, content in zip(files, (certificate, key, key + certificate), strict=True):
            file.touch(mode=0o600)
            file.write_bytes(content)
        return files


def _pkcs8(pem: bytes) -> bytes:
    """Kafka reads keys in no other form."""
    return load_pem_private_key(pem, password=None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
