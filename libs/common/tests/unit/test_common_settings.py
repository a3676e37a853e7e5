"""A wrong environment is told in one line per variable; secrets are never shown, wrong or right."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from metering_common.service.settings import KafkaSettings, ServiceSettings, load_settings

pytestmark = pytest.mark.fast

SECRET = "postgres://user:pa55word@host/db"


class SomeSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SOME_")

    database_url: SecretStr = Field(description="PostgreSQL, as the service's role")
    seed: SecretStr | None = Field(None, min_length=100)


SCRAM = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "writer",
    "KAFKA_SASL_PASSWORD": "pa55word",
}
RIGHT = {"SOME_ADMIN_PORT": "0", "SOME_DATABASE_URL": SECRET, "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}


@contextmanager
def environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        for name in ("SOME_LOG_LEVEL", "KAFKA_ENVIRONMENT", *RIGHT):
            patch.delenv(name, raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def complaints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **variables: str) -> list[str]:
    with environment(monkeypatch, **variables), pytest.raises(SystemExit) as stop:
        load_settings(SomeSettings)
    assert stop.value.code == 2
    output = capsys.readouterr()
    assert not output.out
    return output.err.splitlines()


def test_a_right_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with environment(monkeypatch, **RIGHT, KAFKA_ENVIRONMENT="laptop"):
        settings = load_settings(SomeSettings)
    assert settings.database_url.get_secret_value() == SECRET
    assert settings.kafka == KafkaSettings(bootstrap_servers="localhost:9092", environment="laptop")
    assert settings.log_level == "info"


def test_every_missing_variable_is_named_with_what_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complaints(monkeypatch, capsys) == [
        "KAFKA_BOOTSTRAP_SERVERS: is not set (host:port of brokers to start from, comma-separated)",
        "SOME_ADMIN_PORT: is not set (port of /healthz, /readyz and /metrics; 0 takes a free one)",
        "SOME_DATABASE_URL: is not set (PostgreSQL, as the service's role)",
    ]


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("SOME_ADMIN_PORT", "many", "valid integer"),
        ("SOME_ADMIN_PORT", "65536", "less than or equal to 65535"),
        ("SOME_DRAIN_SECONDS", "0", "greater than 0"),
        ("SOME_LOG_LEVEL", "loud", "'debug', 'info'"),
        ("KAFKA_ENVIRONMENT", "moon", "'production' or 'laptop'"),
        ("KAFKA_SECURITY_PROTOCOL", "NONE", "'PLAINTEXT'"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, what: str
) -> None:
    [line] = complaints(monkeypatch, capsys, **RIGHT | {name: value})
    assert line.startswith(f"{name}: ")
    assert what in line
    assert f"it is {value!r}" in line


def test_an_empty_variable_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = complaints(monkeypatch, capsys, **RIGHT | {"SOME_DATABASE_URL": ""})
    assert line.startswith("SOME_DATABASE_URL: is not set")


def test_a_wrong_secret_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = complaints(monkeypatch, capsys, **RIGHT | {"SOME_SEED": "hush-hush"})
    assert line.startswith("SOME_SEED: ")
    assert "hush" not in line


def test_secrets_do_not_show_in_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    with environment(monkeypatch, **RIGHT, **SCRAM):
        settings = load_settings(SomeSettings)
    assert "pa55word" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_settings_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    with environment(monkeypatch, **RIGHT):
        settings = load_settings(SomeSettings)
    with pytest.raises(ValueError, match="frozen"):
        settings.admin_port = 1  # type: ignore[misc]  # that it cannot be set is what is tested
