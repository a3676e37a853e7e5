"""Every line is JSON with time, level, service and event; secrets stay out of all of them."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from metering_common.service import logs

pytestmark = pytest.mark.fast

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIyIn0.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Logging is the process's: it is given back as it was."""
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_says_when_who_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("ingest-api", "info")
    with structlog.contextvars.bound_contextvars(batch_ids=["b-1"]):
        structlog.get_logger().info("batch.enqueued", records=3)
    [line] = lines(capsys)
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "batch.enqueued",
        "level": "info",
        "service": "ingest-api",
        "batch_ids": ["b-1"],
        "records": 3,
    }


def test_a_logger_made_before_logs_are_configured_follows_them(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger()
    logs.configure("writer", "warning")
    log.info("too.low")
    log.warning("high.enough")
    assert [line["event"] for line in lines(capsys)] == ["high.enough"]


def test_libraries_speak_json_too_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("writer", "debug")
    logging.getLogger("aiokafka").info("chatter")
    logging.getLogger("aiokafka").warning("Got error %s", "produce")
    [line] = lines(capsys)
    assert (line["event"], line["logger"], line["level"]) == ("Got error produce", "aiokafka", "warning")
    assert line["service"] == "writer"


def test_a_complaint_repeated_by_a_library_is_told_once_in_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    """While Kafka is away its client complains ten times a second."""
    logs.configure("writer", "info")
    for attempt in range(100):
        logging.getLogger("aiokafka").error("Unable connect to node %s", attempt)
    logging.getLogger("aiokafka").error("Something else")
    assert [line["event"] for line in lines(capsys)] == ["Unable connect to node 0", "Something else"]


def test_secrets_are_redacted_by_name_and_by_look(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("auth", "info")
    structlog.get_logger().info(
        "some.event",
        refresh_token="abc",
        database_url="x",
        Authorization="Bearer x",
        secret=SecretStr("hush"),
        url="postgres://user:pa55word@host/db",
        text=f"got {TOKEN} from a gateway",
        nested={"value": TOKEN},
        tokens=3,
        settings=SecretStr("hush"),
    )
    [line] = lines(capsys)
    text = json.dumps(line)
    assert not [secret for secret in ("abc", "Bearer", "hush", "pa55word", TOKEN, "user") if secret in text]
    assert line["url"] == "postgres://[redacted]@host/db"
    assert line["text"] == "got [redacted] from a gateway"
    assert line["tokens"] == 3


def test_a_secret_in_an_exception_is_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("auth", "info")
    failure = ValueError(f"cannot connect to postgres://user:pa55word@host/db with {TOKEN}")
    structlog.get_logger().error("some.failure", exc_info=failure)
    [line] = lines(capsys)
    assert "ValueError: cannot connect to postgres://[redacted]@host/db" in line["exception"]
    assert TOKEN not in line["exception"]


def test_what_json_cannot_say_is_told_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("ingest_api", "info")
    structlog.get_logger().info("odd.values", lone="\ud800", thing=object, raw=b"\xff")
    [line] = lines(capsys)
    assert line["lone"] == "\ud800"
    assert line["thing"] == "<class 'object'>"
