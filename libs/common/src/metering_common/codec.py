"""One place that turns messages into bytes and back, for every producer and consumer."""

import msgspec

from metering_common.messages import Judged, Outcome

_encoder = msgspec.json.Encoder()
_judged = msgspec.json.Decoder(Judged)
_outcome = msgspec.json.Decoder(Outcome)


def encode(message: Judged | Outcome) -> bytes:
    """JSON, the same bytes for the same message."""
    return _encoder.encode(message)


def decode_judged(value: bytes) -> Judged:
    """Raises `msgspec.DecodeError`."""
    return _judged.decode(value)


def decode_outcome(value: bytes) -> Outcome:
    """Raises `msgspec.DecodeError`."""
    return _outcome.decode(value)
