"""POST /api/v1/auth/token/refresh, as the published document has it, errors as problem+json."""

import msgspec
from aiohttp import web

from metering_auth.adapters.http.bodies import JSON, Intake
from metering_auth.adapters.http.problems import NO_STORE
from metering_auth.application.refresh import Refresher
from metering_auth.application.refusals import RefreshRefusedError
from metering_common.http.problems import Problem, unauthorized
from metering_common.http.request_headers import accepts_json

PATH = "/api/v1/auth/token/refresh"


class _Body(msgspec.Struct, frozen=True):
    refresh_token: str = msgspec.field(name="refreshToken")


_decoder = msgspec.json.Decoder(_Body)


class RefreshEndpoint:
    """The published endpoint."""

    def __init__(self, refresher: Refresher, intake: Intake) -> None:
        self._refresher = refresher
        self._intake = intake

    async def refresh(self, request: web.Request) -> web.StreamResponse:
        """Answers 200 with the next pair; raises a `Problem` or `TooManyAttemptsError`."""
        with self._intake.reading(request):
            token = await self._token(request)
        try:
            pair = await self._refresher.refresh(token, self._intake.address(request))
        except RefreshRefusedError as error:
            raise _refused(error) from error
        body = {"accessToken": pair.access, "refreshToken": pair.refresh}
        return web.Response(body=msgspec.json.encode(body), content_type=JSON, headers=NO_STORE)

    async def _token(self, request: web.Request) -> str:
        if not accepts_json(", ".join(request.headers.getall("Accept", ["*/*"]))):
            raise Problem(406, "not_acceptable", f"{JSON} is offered")
        body = await self._intake.body(request, JSON)
        try:
            return _decoder.decode(body).refresh_token
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _check_is_json(body)
        raise Problem(422, "wrong_shape", 'the body must be {"refreshToken": "…"}')


def _check_is_json(body: bytes) -> None:
    """The typed decoder stops at the first wrong type, before it has seen whether the rest is JSON."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "malformed_body", "the body is not JSON in UTF-8, or nests too deep") from None


def _refused(error: RefreshRefusedError) -> Problem:
    if error.expired:
        return unauthorized("token_expired", "the refresh token has expired: ask for a new one")
    return unauthorized("token_invalid", "the refresh token is not valid")
