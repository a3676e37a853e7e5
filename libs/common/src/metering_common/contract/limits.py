"""Numbers of the published contract that more than one service holds to (contracts/openapi, docs/rules.md)."""

MAX_MEASURES = 100
"""Of a request, all devices together, and of an element."""
MAX_VALUES = 10_000
"""Of a request, whatever they are, and of an element."""
DAY_SECONDS = 86_400
MAX_SPAN_SECONDS = DAY_SECONDS
"""Between the first and the last timestamp of a request, and of an element; both ends included."""
MILLISECONDS_FROM = 10**11
"""A timestamp from here on is milliseconds, not seconds: refused alone, by rule."""
MAX_NESTING = 16
"""Brackets within brackets of a JSON body."""
