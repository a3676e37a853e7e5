"""A problem (RFC 9457) as an answer of aiohttp's."""

import msgspec
from aiohttp import web

from metering_auth.domain.limits import TooManyAttemptsError
from metering_common.http.problems import PROBLEM_JSON, Problem, too_many

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def problem_response(problem: Problem, instance: str) -> web.Response:
    """Returns the answer; `instance` is the request id. Never cached."""
    return web.Response(
        body=msgspec.json.encode(problem.document(instance)),
        status=problem.status,
        content_type=PROBLEM_JSON,
        headers=NO_STORE | problem.headers,
    )


def too_many_attempts(error: TooManyAttemptsError) -> Problem:
    """Returns the 429."""
    what = "failed attempts" if error.payer == "address" else "attempts"
    rate = error.rate
    limit = {"unit": what, "perSecond": rate.per_second, "burst": rate.burst, "scope": f"{error.payer}, per pod"}
    detail = f"too many {what} of one {error.payer}; try again in {error.retry_after_seconds} s"
    return too_many("rate_attempts", detail, error.retry_after_seconds, limit)
