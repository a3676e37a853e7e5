"""JSON from outside that nests as deep as it can is bad input like any other, wherever it is read."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metering_auth.domain import tokens as auth_tokens
from metering_auth.domain.sensor_entries import read_dictionary, read_sensor_list
from metering_auth.domain.texts import InvalidEntryError
from metering_auth.domain.tokens import TokenRefusedError
from metering_common.http.problems import Problem
from metering_common.registry.memory import Registry
from metering_ecl_poller.commands import mappings
from metering_ecl_poller.commands.session import EclCommandError
from metering_ecl_poller.domain.portal.reading import AnswerShapeError, parse_json
from metering_gateway.domain.claims import UnreadableTokenError, read_claims
from metering_ingest_api.domain import elements
from metering_ingest_api.domain.elements import MalformedBodyError
from metering_ingest_api.domain.tokens import Tokens

pytestmark = pytest.mark.fast

TEXTS = {
    "objects without end": b'{"a":' * 3_000,
    "arrays without end": b"[" * 100_000,
    "arrays": b"[" * 3_000 + b"]" * 3_000,
    "both": b'[{"a":' * 1_500 + b"1" + b"}]" * 1_500,
}


def as_token(text: bytes, *, header: bytes = b"") -> str:
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header or text, text, b"signature")]
    return ".".join(parts)


def read_mapping_file(text: bytes, folder: Path) -> Any:
    path = folder / "mapping.json"
    path.write_bytes(text)
    return mappings._read(path)


READERS: dict[str, tuple[Callable[[bytes, Path], Any], type[Exception]]] = {
    "a request's body": (lambda text, _: elements.split(text, lambda _: None), MalformedBodyError),
    "ingest-api's token": (lambda text, _: Tokens(Registry()).sender(as_token(text), 0), Problem),
    "auth's token": (lambda text, _: auth_tokens.kid_of(as_token(b"{}", header=text[:2_950])), TokenRefusedError),
    "the dictionary's file": (lambda text, _: read_dictionary(text), InvalidEntryError),
    "a device's list of sensors": (lambda text, _: read_sensor_list(text), InvalidEntryError),
    "a mapping file": (read_mapping_file, EclCommandError),
    "the portal's answer": (lambda text, _: parse_json(text), AnswerShapeError),
    "the gateway's own token": (lambda text, _: read_claims(as_token(text)), UnreadableTokenError),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("reader", READERS)
def test_deep_nesting_is_bad_input(reader: str, text: bytes, tmp_path: Path) -> None:
    read, error = READERS[reader]
    with pytest.raises(error):
        read(text, tmp_path)
