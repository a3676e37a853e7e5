"""The API's server: routes, one measurement of every request, and what is answered when something fails."""

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metering_auth.adapters.http import oauth, refresh_endpoint
from metering_auth.adapters.http.oauth import OAuth
from metering_auth.adapters.http.problems import problem_response, too_many_attempts
from metering_auth.adapters.http.refresh_endpoint import RefreshEndpoint
from metering_auth.adapters.postgres.signing_keys import NoSigningKeyError
from metering_auth.domain.limits import TooManyAttemptsError
from metering_auth.metrics import IdentityMetrics
from metering_common.http.problems import Problem, unavailable
from metering_common.http.request_headers import request_id
from metering_common.postgres.pool import UNAVAILABLE
from metering_common.service.clock import Clock
from metering_common.service.sealed import SealedError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

RETRY_AFTER_SECONDS = 5


def application(published: RefreshEndpoint, standard: OAuth, metrics: IdentityMetrics, clock: Clock) -> web.Application:
    """All paths of auth; bodies are read by the handlers, which cap them."""
    app = web.Application(middlewares=[_measured(metrics, clock), _answered])
    app.router.add_post(refresh_endpoint.PATH, published.refresh)
    app.router.add_post(oauth.TOKEN_PATH, standard.token)
    app.router.add_post(oauth.REVOKE_PATH, standard.revoke)
    app.router.add_get(oauth.METADATA_PATH, standard.metadata)
    app.router.add_get(oauth.JWKS_PATH, standard.jwks)
    return app


def _measured(metrics: IdentityMetrics, clock: Clock) -> Middleware:
    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        since = clock.monotonic()
        response = await handler(request)
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else "other"
        metrics.request_seconds.labels(path, response.status).observe(clock.monotonic() - since)
        return response

    return measure


@web.middleware
async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error has a body that says what to change; what fails inside is a 503 or a 500 without its cause."""
    instance = request_id(request.headers)
    try:
        response = await handler(request)
    except Problem as problem:
        response = problem_response(problem, instance)
    except TooManyAttemptsError as error:
        response = problem_response(too_many_attempts(error), instance)
    except web.HTTPException as error:
        response = problem_response(_of_the_server(error), instance)
    except (*UNAVAILABLE, NoSigningKeyError, SealedError) as error:
        log.warning("request.unavailable", path=request.path, error=type(error).__name__)
        response = _unavailable(request.path, instance)
    except Exception as error:
        log.exception("request.failed", path=request.path, error=type(error).__name__)
        response = _failed(request.path, instance)
    response.headers["X-Request-Id"] = instance
    return response


def _of_the_server(error: web.HTTPException) -> Problem:
    """What aiohttp itself refuses."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Problem(405, "method_not_allowed", f"this path takes {allowed}", headers={"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return Problem(404, "path_unknown", "there is nothing under this path")
    return Problem(error.status, "malformed_request", error.reason)


def _unavailable(path: str, instance: str) -> web.Response:
    if path in oauth.FORM_PATHS:
        return oauth.unavailable(RETRY_AFTER_SECONDS)
    detail = "tokens cannot be issued at the moment; the one that was sent stays valid"
    return problem_response(unavailable("tokens_unavailable", detail, RETRY_AFTER_SECONDS, "database"), instance)


def _failed(path: str, instance: str) -> web.Response:
    if path in oauth.FORM_PATHS:
        return oauth.failed()
    detail = "the request failed; it is safe to send it again"
    return problem_response(Problem(500, "internal_error", detail), instance)
