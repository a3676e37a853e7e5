"""Percent-encoding as the portal's guide asks for it."""

from urllib.parse import quote


def encode(text: str) -> str:
    """Percent-encoded, `+` and `-` too, as section 7.3 of the guide asks."""
    return quote(text, safe="").replace("-", "%2D")
