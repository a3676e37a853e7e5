"""Builds the URL of a request to the portal, and refuses hosts that credentials must not be sent to."""

import ipaddress
import re
from urllib.parse import urlsplit

from yarl import URL

from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.dialect import Dialect
from metering_ecl_poller.domain.portal.encoding import encode

PORTALS = ("dk", "com")


class AddressError(ValueError):
    """The portal's address is none that credentials may be sent to."""


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


def build_url(template: str, account: PortalAccount, arguments: dict[str, str], dialect: Dialect) -> URL:
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
