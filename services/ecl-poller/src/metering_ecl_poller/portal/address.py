"""Where a request to the portal goes: which hosts are allowed, how arguments are encoded, what may be shown of it."""

import ipaddress
import re
from urllib.parse import quote, urlsplit

from pydantic import SecretStr
from yarl import URL

from metering_ecl_poller.portal.dialect import Dialect

REDACTED = b"[redacted]"
PORTALS = ("dk", "com")


class AddressError(ValueError):
    """The portal's address is none that credentials may be sent to."""


class Account:
    """A controller's address at its portal, and the two secrets that open it; never shown by repr."""

    def __init__(self, portal: str, serial: str, server_code: str, access_code: str) -> None:
        self.portal, self.serial = portal, serial
        self.server_code, self.access_code = SecretStr(server_code), SecretStr(access_code)

    def __repr__(self) -> str:
        return f"Account({self.portal}, {self.serial})"


def base_url(portal: str, dialect: Dialect) -> str:
    """`dk`, `com` or a base URL; raises `AddressError` on one that is not HTTPS, save on this machine's loopback."""
    url = {"dk": dialect.hosts.dk, "com": dialect.hosts.com}.get(portal, portal)
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = None, None
    if parts is None or host is None or parts.query or parts.fragment or parts.username:
        raise AddressError("a portal is dk, com or a base URL such as https://portal.example")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise AddressError(f"{parts.scheme}://{host} is refused: credentials travel in the URL, so it must be https")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def build_url(template: str, account: Account, arguments: dict[str, str], dialect: Dialect) -> URL:
    """The path template filled; every credential it does not name goes into the query, then the arguments."""
    names = dialect.request
    credentials = {
        names.server_code: account.server_code.get_secret_value(),
        names.serial: account.serial,
        names.access_code: account.access_code.get_secret_value(),
    }
    in_path = set(re.findall(r"{(\w+)}", template))
    path = re.sub(r"{(\w+)}", lambda found: encode(credentials[found[1]]), template)
    query = {name: text for name, text in credentials.items() if name not in in_path} | arguments
    joined = "&".join(f"{encode(name)}={encode(text)}" for name, text in query.items())
    # encoded=True: yarl would turn %2D back into the hyphen that the guide wants encoded
    return URL(f"{base_url(account.portal, dialect)}{path}?{joined}", encoded=True)


def encode(text: str) -> str:
    """Percent-encoded, `+` and `-` too, as section 7.3 of the guide asks."""
    return quote(text, safe="").replace("-", "%2D")


def without_secrets(body: bytes, account: Account) -> bytes:
    """The bytes with both codes blotted out wherever they stand as a word of their own, as text or percent-encoded.

    A code of digits only is blotted out only as a whole JSON string: within the text it may be part of a time stamp
    or a value, and the data must stay as it came.
    """
    for secret in (account.server_code, account.access_code):
        code = secret.get_secret_value()
        for spelling in {code, quote(code, safe=""), encode(code)}:
            body = _blotted(body, spelling.encode())
    return body


def _blotted(body: bytes, code: bytes) -> bytes:
    word = re.escape(code)
    if code.isdigit():
        return re.sub(rb'"' + word + rb'"', b'"' + REDACTED + b'"', body)
    return re.sub(rb"(?<![0-9A-Za-z])" + word + rb"(?![0-9A-Za-z])", REDACTED, body)
