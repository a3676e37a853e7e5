"""The API's server: routes, one measurement of every request, and what is answered when something fails."""

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from metering_auth.adapters.http import oauth, refresh_endpoint
from metering_auth.adapters.http.oauth import OAuth
from metering_auth.adapters.http.problems import problem
from metering_auth.adapters.http.refresh_endpoint import RefreshEndpoint
from metering_auth.adapters.postgres.signing_keys import NoSigningKeyError
from metering_auth.metrics import IdentityMetrics
from metering_common.postgres.pool import UNAVAILABLE
from metering_common.service.clock import Clock
from metering_common.service.sealed import SealedError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

RETRY_AFTER_SECONDS = "5"


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
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem(405, "method_not_allowed", f"this path takes {allowed}", Allow=allowed)
    except web.HTTPException as error:
        return problem(error.status, error.reason.lower().replace(" ", "_"), error.reason)
    except (*UNAVAILABLE, NoSigningKeyError, SealedError) as error:
        log.warning("request.unavailable", path=request.path, error=type(error).__name__)
        return _unavailable(request.path)
    except Exception as error:
        log.exception("request.failed", path=request.path, error=type(error).__name__)
        return _failed(request.path)


def _unavailable(path: str) -> web.Response:
    if path in oauth.FORM_PATHS:
        return oauth.unavailable(int(RETRY_AFTER_SECONDS))
    detail = "Tokens cannot be issued at the moment; the one that was sent stays valid."
    return problem(503, "unavailable", detail, Retry_After=RETRY_AFTER_SECONDS)


def _failed(path: str) -> web.Response:
    if path in oauth.FORM_PATHS:
        return oauth.failed()
    return problem(500, "internal_error", "The request failed; it is safe to send it again.")
