"""A controller at its portal, with the codes that open it."""

from pydantic import SecretStr


class PortalAccount:
    """A controller's address at its portal, and the two secrets that open it; never shown by repr."""

    def __init__(self, portal: str, serial: str, server_code: str, access_code: str) -> None:
        self.portal, self.serial = portal, serial
        self.server_code, self.access_code = SecretStr(server_code), SecretStr(access_code)

    def __repr__(self) -> str:
        return f"Account({self.portal}, {self.serial})"
