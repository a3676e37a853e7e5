"""Errors in the form that our own API answers with: application/problem+json (RFC 9457)."""

from http import HTTPStatus
from uuid import uuid4

import msgspec
from aiohttp import web

CONTENT_TYPE = "application/problem+json"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def problem(status: int, code: str, detail: str, **headers: str) -> web.Response:
    """`code` is stable, `detail` is prose for the integrator, `instance` is new for each answer. Never cached."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": f"urn:uuid:{uuid4()}",
        "code": code,
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type=CONTENT_TYPE, headers=NO_STORE | named
    )
