"""POST /api/v1/auth/token/refresh, as the published document has it, errors as problem+json."""

import msgspec
from aiohttp import web

from metering_auth.adapters.http.bodies import JSON, BodyError, Intake
from metering_auth.adapters.http.problems import NO_STORE, problem
from metering_auth.application.refresh import Refresher
from metering_auth.application.refusals import RefreshRefusedError, TooManyAttemptsError

PATH = "/api/v1/auth/token/refresh"
CODES = {408: "body_too_slow", 413: "body_too_large", 415: "unsupported_media_type"}
INVALID = 'Bearer error="invalid_token"'


class _Body(msgspec.Struct, frozen=True):
    refresh_token: str = msgspec.field(name="refreshToken")


_decoder = msgspec.json.Decoder(_Body)


class RefreshEndpoint:
    """The published endpoint."""

    def __init__(self, refresher: Refresher, intake: Intake) -> None:
        self._refresher = refresher
        self._intake = intake

    async def refresh(self, request: web.Request) -> web.StreamResponse:
        """200 with the next pair; 400, 401, 406, 408, 413, 415, 422, 429."""
        if not _accepts_json(request):
            return problem(406, "not_acceptable", f"this answers {JSON}")
        try:
            token = await self._token(request)
            pair = await self._refresher.refresh(token, self._intake.address(request))
        except BodyError as error:
            return problem(error.status, CODES.get(error.status, "invalid_body"), error.detail)
        except RefreshRefusedError as error:
            return _refused(error)
        except TooManyAttemptsError as error:
            return _too_many(error)
        body = {"accessToken": pair.access, "refreshToken": pair.refresh}
        return web.Response(body=msgspec.json.encode(body), content_type=JSON, headers=NO_STORE)

    async def _token(self, request: web.Request) -> str:
        body = await self._intake.body(request, JSON)
        try:
            return _decoder.decode(body).refresh_token
        except (msgspec.DecodeError, UnicodeDecodeError):
            _check_is_json(body)
            raise ShapeError from None


def _check_is_json(body: bytes) -> None:
    """The typed decoder stops at the first wrong type, before it has seen whether the rest is JSON."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BodyError(400, "the body is not JSON") from None


class ShapeError(BodyError):
    """Right JSON, wrong shape."""

    def __init__(self) -> None:
        super().__init__(422, 'the body must be {"refreshToken": "…"}')


def _accepts_json(request: web.Request) -> bool:
    accepted = ",".join(request.headers.getall("Accept", ["*/*"]))
    ranges = {part.split(";")[0].strip().lower() for part in accepted.split(",")}
    return bool(ranges & {JSON, "application/*", "*/*", "application/problem+json", ""})


def _refused(error: RefreshRefusedError) -> web.Response:
    if error.expired:
        return problem(
            401, "token_expired", "The refresh token has expired: ask for a new one.", WWW_Authenticate=INVALID
        )
    return problem(401, "invalid_token", "The refresh token is not valid.", WWW_Authenticate=INVALID)


def _too_many(error: TooManyAttemptsError) -> web.Response:
    seconds = error.retry_after_seconds
    detail = f"Too many attempts to refresh of one {error.limit}; try again in {seconds} s."
    return problem(429, f"too_many_attempts_{error.limit}", detail, Retry_After=str(seconds))
