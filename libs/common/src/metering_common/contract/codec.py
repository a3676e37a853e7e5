"""One place that turns messages into bytes and back, for every producer and consumer."""

import msgspec

from metering_common.contract.messages import Outcome, Validated

_encoder = msgspec.json.Encoder()
_validated = msgspec.json.Decoder(Validated)
_outcome = msgspec.json.Decoder(Outcome)


def encode(message: Validated | Outcome) -> bytes:
    """JSON, the same bytes for the same message."""
    return _encoder.encode(message)


def decode_validated(value: bytes) -> Validated:
    """Raises `msgspec.DecodeError`."""
    return _validated.decode(value)


def decode_outcome(value: bytes) -> Outcome:
    """Raises `msgspec.DecodeError`."""
    return _outcome.decode(value)
