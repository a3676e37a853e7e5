"""A connection that cannot be meant stops the start with a sentence that names the setting; secrets come from files."""

from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from metering_common.service.connections import DatabaseUrl
from metering_common.service.settings import KafkaSettings, SettingsGroup, load_settings

pytestmark = pytest.mark.fast

SERVERS = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}
SCRAM = SERVERS | {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "writer",
    "KAFKA_SASL_PASSWORD": "pa55word",
}
TLS = SERVERS | {"KAFKA_SECURITY_PROTOCOL": "SSL"}


class Stored(SettingsGroup):
    model_config = SettingsConfigDict(env_prefix="STORED_")

    database_url: DatabaseUrl


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in KafkaSettings.model_fields:
        monkeypatch.delenv(f"KAFKA_{field}".upper(), raising=False)


def complaints(
    cls: type[SettingsGroup], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: dict[str, str]
) -> list[str]:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        load_settings(cls)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (
            SERVERS | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "writer"},
            [
                "KAFKA_SASL_MECHANISM: is not set, and KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it",
                "KAFKA_SASL_PASSWORD: is not set, and KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it",
            ],
        ),
        (
            SERVERS | {"KAFKA_SASL_PASSWORD": "pa55word"},
            ["KAFKA_SASL_PASSWORD: is set, and KAFKA_SECURITY_PROTOCOL=PLAINTEXT does not send it"],
        ),
        (
            SCRAM | {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": "PLAIN"},
            ["KAFKA_SASL_MECHANISM: PLAIN without TLS shows the password to all; take SCRAM-SHA-512 or SASL_SSL"],
        ),
        (
            SERVERS | {"KAFKA_SSL_CAFILE": "/ca.pem"},
            ["KAFKA_SSL_CAFILE: is set, and KAFKA_SECURITY_PROTOCOL=PLAINTEXT has no TLS"],
        ),
        (SCRAM | {"KAFKA_SSL_CAFILE": "/not/there.pem"}, ["KAFKA_SSL_CAFILE: there is no file /not/there.pem"]),
        (
            TLS | {"KAFKA_SSL_CERTFILE": __file__},
            ["KAFKA_SSL_KEYFILE: is not set, and KAFKA_SSL_CERTFILE is of no use without it"],
        ),
        (
            TLS | {"KAFKA_SSL_KEYFILE": __file__},
            ["KAFKA_SSL_CERTFILE: is not set, and KAFKA_SSL_KEYFILE is of no use without it"],
        ),
        (TLS | {"KAFKA_SSL_CAFILE": __file__}, [f"KAFKA_SSL_CAFILE: {__file__} holds no certificate in PEM"]),
        (
            TLS | {"KAFKA_SSL_CERTFILE": __file__, "KAFKA_SSL_KEYFILE": __file__},
            [f"KAFKA_SSL_CERTFILE: {__file__} does not go with KAFKA_SSL_KEYFILE"],
        ),
    ],
)
def test_what_cannot_be_meant_together_is_told_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: dict[str, str], lines: list[str]
) -> None:
    told = complaints(KafkaSettings, monkeypatch, capsys, given)
    assert [line.split(" (")[0] for line in told] == lines
    assert "pa55word" not in "".join(told)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("mysql://role:pa55word@host/db", "it must read postgresql://role:password@host:port/database"),
        ("postgresql://role:pa55word@host", "it must read postgresql://role:password@host:port/database"),
        ("postgresql://role:pa55word@host/db?sslmode=yes", "its sslmode must be one of disable, allow, prefer"),
        ("postgresql://role:pa55word@host/db?sslmode=verify-full", "its sslmode=verify-full needs sslrootcert"),
        (
            "postgresql://role:pa55word@host/db?sslmode=verify-full&sslrootcert=/not/there.pem",
            "its sslrootcert names a file that is not there",
        ),
    ],
)
def test_a_database_url_that_cannot_work_is_told_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, what: str
) -> None:
    [line] = complaints(Stored, monkeypatch, capsys, {"STORED_DATABASE_URL": url})
    assert line.startswith(f"STORED_DATABASE_URL: Value error, {what}")
    assert "pa55word" not in line


def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://role:pa55word@host/db\n")
    monkeypatch.setenv("STORED_DATABASE_URL_FILE", str(file))
    assert load_settings(Stored).database_url.get_secret_value() == "postgresql://role:pa55word@host/db"


@pytest.mark.parametrize(
    ("text", "beside", "what"),
    [
        (None, "", "cannot be read (FileNotFoundError)"),
        ("\n", "", "is empty"),
        ("x", "y", "is set beside STORED_DATABASE_URL, and only one of them can hold"),
    ],
)
def test_a_secret_file_that_cannot_hold_is_told_by_name(  # noqa: PLR0917  pytest gives them by name
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    text: str | None,
    beside: str,
    what: str,
) -> None:
    file = tmp_path / "url"
    if text is not None:
        file.write_text(text)
    given = {"STORED_DATABASE_URL_FILE": str(file), "STORED_DATABASE_URL": beside}
    [line] = complaints(Stored, monkeypatch, capsys, given)
    assert line.startswith("STORED_DATABASE_URL_FILE: ")
    assert line.endswith(what)


def test_a_file_beside_what_is_no_secret_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
    monkeypatch.setenv("KAFKA_SASL_USERNAME_FILE", "/not/there")
    assert load_settings(KafkaSettings).sasl_username is None
