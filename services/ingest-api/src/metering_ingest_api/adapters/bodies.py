"""A request's body, paid for by its gateway while it comes."""

from aiohttp import HttpVersion11, web

from metering_common.http.bodies import Body, BodyLimits
from metering_common.service.clock import Clock
from metering_ingest_api.domain.in_flight import Share
from metering_ingest_api.domain.rates import GatewayRates


class GatewayAccount:
    """What one request costs its gateway: memory from its share, bytes and values from its rates."""

    def __init__(self, gateway: int, share: Share, rates: GatewayRates, clock: Clock) -> None:
        self._gateway, self._share, self._rates, self._clock = gateway, share, rates, clock
        self.values = 0
        """Taken so far."""

    def charge(self, size: int) -> None:
        self._rates.charge_bytes(self._gateway, size, self._clock.monotonic())

    def hold(self, size: int) -> None:
        self._share.hold(size)

    def take_bytes(self, size: int) -> None:
        self._rates.take_bytes(self._gateway, size, self._clock.monotonic())

    def take_values(self, count: int) -> None:
        self._rates.take_values(self._gateway, count, self._clock.monotonic())
        self.values += count


async def read_body(request: web.BaseRequest, limits: BodyLimits, account: GatewayAccount) -> bytes:
    """Returns the body, inflated; raises 400, 408, 413, 415, 429 or 503 as a `Problem`."""
    body = Body(request, limits, account)
    await _go_on(request)
    return await body.read()


async def _go_on(request: web.BaseRequest) -> None:
    """A client that asks first (RFC 9110, section 10.1.1) is told now that nothing else speaks against its request."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
