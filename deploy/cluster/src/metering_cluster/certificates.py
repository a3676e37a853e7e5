"""The cluster's authority and what it signs: recreated for every cluster, in its own folder."""

from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


class Authority:
    """Signs certificates into a folder: `<name>.crt` and `<name>.key`, its own as `ca.crt`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = trustme.CA(organization_name="metering tests")
        self._write("ca", self._authority.private_key_pem, self._authority.cert_pem)

    def sign(self, name: str, subject: str, organization: str = "", addresses: tuple[str, ...] = ()) -> None:
        """For a server at `addresses` (IP addresses and names) and for a client alike.

        Kubernetes takes the subject for a user's name and the organization for the group.
        """
        leaf = self._authority.issue_cert(*addresses, common_name=subject, organization_name=organization or None)
        self._write(name, leaf.private_key_pem, leaf.cert_chain_pems[0])

    def make_signing_key(self, name: str) -> None:
        """The key of service accounts' tokens."""
        key = rsa.generate_private_key(65_537, 2_048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / f"{name}.key").write_bytes(pem)

    def _write(self, name: str, key: trustme.Blob, certificate: trustme.Blob) -> None:
        key.write_to_path(self.folder / f"{name}.key")
        certificate.write_to_path(self.folder / f"{name}.crt")
