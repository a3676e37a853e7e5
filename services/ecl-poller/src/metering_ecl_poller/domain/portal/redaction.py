"""Removes the codes from an answer before it is kept or shown."""

import re
from urllib.parse import quote

from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.encoding import encode

REDACTED = b"[redacted]"


def without_secrets(body: bytes, account: PortalAccount) -> bytes:
    """Returns the bytes with both codes redacted wherever they stand as a word, as text or percent-encoded.

    A code of digits only is redacted only as a whole JSON string: within the text it may be part of a time stamp
    or a value, and the data must stay as it came.
    """
    for secret in (account.server_code, account.access_code):
        code = secret.get_secret_value()
        for spelling in {code, quote(code, safe=""), encode(code)}:
            body = _redacted(body, spelling.encode())
    return body


def _redacted(body: bytes, code: bytes) -> bytes:
    word = re.escape(code)
    if code.isdigit():
        return re.sub(rb'"' + word + rb'"', b'"' + REDACTED + b'"', body)
    return re.sub(rb"(?<![0-9A-Za-z])" + word + rb"(?![0-9A-Za-z])", REDACTED, body)
