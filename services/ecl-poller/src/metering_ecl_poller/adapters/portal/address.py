"""Builds the URL of a request to the portal, and refuses hosts that credentials must not be sent to."""

import ipaddress
import re
from collections.abc import Sequence
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


def build_url(template: str, account: PortalAccount, arguments: Sequence[tuple[str, str]], dialect: Dialect) -> URL:
    """Fills the path template; every credential and argument that it does not name goes into the query."""
    names = dialect.request
    given = [
        (names.server_code, account.server_code.get_secret_value()),
        (names.serial, account.serial),
        (names.access_code, account.access_code.get_secret_value()),
        *arguments,
    ]
    in_path = set(re.findall(r"{([^}]*)}", template))
    values = dict(given)
    path = re.sub(r"{([^}]*)}", lambda found: encode(values.get(found[1], "")), template)
    joined = "&".join(f"{encode(name)}={encode(text)}" for name, text in given if name not in in_path)
    # encoded=True: yarl would turn %2D back into the hyphen that the guide wants encoded
    return URL(f"{base_url(account.portal, dialect)}{path}?{joined}", encoded=True)
