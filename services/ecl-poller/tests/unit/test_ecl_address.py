"""Where requests go and how they are encoded."""

from pathlib import Path

import pytest

from metering_ecl_poller.adapters.portal.address import AddressError, base_url, build_url
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.dialect import DialectError, overlaid
from metering_ecl_poller.domain.portal.encoding import encode
from metering_ecl_poller.domain.portal.redaction import without_secrets

pytestmark = pytest.mark.fast

DIALECT = load_dialect()
ACCOUNT = PortalAccount("dk", "123456792", "Firma-A", "Kode+5")


def test_the_two_portals_are_the_guides() -> None:
    assert base_url("dk", DIALECT) == "https://eclwebapi.danfoss.dk"
    assert base_url("com", DIALECT) == "https://eclwebapi.danfoss.com"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost", "https://any.example/"]
)
def test_https_and_loopback_are_taken(url: str) -> None:
    assert base_url(url, DIALECT) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://portal.example",
        "http://127.0.0.1.example",
        "http://10.0.0.1",
        "ftp://localhost",
        "portal",
        "",
        "http://[",
        "https://user@portal.example",
        "https://portal.example?x=1",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(AddressError):
        base_url(url, DIALECT)


def test_plus_and_hyphen_are_percent_encoded_and_stay_so() -> None:
    url = build_url("/readings/v1/{eclSerial}", ACCOUNT, [("from", "2013-04-18T10:53:00.0+02:00")], DIALECT)
    assert str(url) == (
        "https://eclwebapi.danfoss.dk/readings/v1/123456792"
        "?serverCode=Firma%2DA&eclAccessCode=Kode%2B5&from=2013%2D04%2D18T10%3A53%3A00.0%2B02%3A00"
    )
    assert url.query["from"] == "2013-04-18T10:53:00.0+02:00"


def test_credentials_named_in_the_path_are_not_in_the_query() -> None:
    url = build_url("/masterData/v1/{serverCode}/{eclSerial}/{eclAccessCode}", ACCOUNT, [("a", "b")], DIALECT)
    assert url.raw_path_qs == "/masterData/v1/Firma%2DA/123456792/Kode%2B5?a=b"


def test_encode_leaves_nothing_that_means_something() -> None:
    assert encode("a/b?c&d=e f#g") == "a%2Fb%3Fc%26d%3De%20f%23g"


@pytest.mark.parametrize("spelled", [b"Kode+5", b"Kode%2B5"])
def test_codes_are_redacted_out_in_every_spelling(spelled: bytes) -> None:
    assert without_secrets(b'{"url":"x?c=' + spelled + b'&d"}', ACCOUNT, DIALECT) == b'{"url":"x?c=[redacted]&d"}'


def test_data_that_looks_like_a_numeric_code_stays() -> None:
    account = PortalAccount("dk", "1", "2026", "Kode5")
    body = b'{"serverCode":"2026","timestamp":"2026-01-01T00:00:00.0Z","value":2026,"name":"MyKode55"}'
    assert without_secrets(body, account, DIALECT) == body.replace(b'"2026"', b'"[redacted]"')


def test_a_mistyped_dialect_entry_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "dialect.toml"
    file.write_text('[request]\nfrm = "from"\n')
    with pytest.raises(DialectError, match="frm"):
        load_dialect(file)
    file.write_text('[request]\nfrom = "fra"\n')
    assert load_dialect(file).request.from_ == "fra"


def test_the_example_file_of_the_documentation_applies(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "ecl-portal.md").read_text(encoding="utf-8")
    file = tmp_path / "dialect.toml"
    file.write_text("\n".join(line for line in page.splitlines() if line.startswith(" " * 7)), encoding="utf-8")
    dialect = load_dialect(file)
    assert (dialect.request.page_number, dialect.request.first_page) == ("page", 0)
    assert dialect.readings.timestamp == ("sampleTime",)


def test_an_overlay_leaves_the_table_as_it_was() -> None:
    table = {"a": {"b": 1, "c": 2}}
    assert overlaid(table, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    assert table == {"a": {"b": 1, "c": 2}}
