"""Where requests go and how they are encoded."""

import json
import re
from pathlib import Path

import msgspec
import pytest

import metering_ecl_poller
from metering_ecl_poller.adapters.portal.address import AddressError, base_url, build_url
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.dialect import Dialect, DialectError, overlaid
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


SPELLED = PortalAccount("dk", "1", "FirmaÆ", "K/ode 5")


@pytest.mark.parametrize(
    "value",
    [
        '"Firma\\u00c6"',
        '"FIRMAÆ"',
        '"firma\\u00C6"',
        '"K\\/ode 5"',
        '"k/ODE 5"',
        '"K%2Fode%205"',
        '"K%2fode+5"',
        '"Firma%c3%86"',
        '"a=1&c=Firma%C3%86&d"',
        '"%20Firma&AElig;"',
    ],
)
def test_a_code_in_any_spelling_of_json_never_leaves(value: str) -> None:
    body = b'{"message":' + value.encode() + b',"value":"K%2Fode6"}'
    redacted = without_secrets(body, SPELLED, DIALECT)
    assert b"[redacted]" in redacted
    assert json.loads(redacted)["value"] == "K%2Fode6"
    text = json.loads(redacted)["message"].casefold()
    assert not any(part in text for part in ("firma", "ode 5", "ode%205", "ode+5"))


@pytest.mark.parametrize("body", [b"<p>Firma&#198;</p>", b'{"cut": "FIRMA\\u00c6', b"K%2fOde%205", b'"k\\/ode 5'])
def test_a_code_in_what_is_no_json_never_leaves(body: bytes) -> None:
    redacted = without_secrets(body, SPELLED, DIALECT)
    assert b"[redacted]" in redacted
    assert b"irma" not in redacted.lower()
    assert b"ode" not in redacted.lower()


def test_a_code_that_equals_a_fields_name_leaves_the_field() -> None:
    account = PortalAccount("dk", "1", "value", "channels")
    body = b'{"value": 1, "channels": [], "name": "value", "Other": "CHANNELS"}'
    redacted = b'{"value": 1, "channels": [], "name": "[redacted]", "Other": "[redacted]"}'
    assert without_secrets(body, account, DIALECT) == redacted


def test_a_numeric_code_is_redacted_as_the_value_of_its_own_field() -> None:
    account = PortalAccount("dk", "1", "2026", "77")
    body = b'{"serverCode": 2026, "eclAccessCode":77, "value": 2026, "other": 77.5}'
    redacted = b'{"serverCode": "[redacted]", "eclAccessCode":"[redacted]", "value": 2026, "other": 77.5}'
    assert without_secrets(body, account, DIALECT) == redacted


def test_a_body_without_a_code_stays_byte_by_byte() -> None:
    body = b'{ "a" : "\\u00e6\\/ b",\n "c": 1.0e5, "d":"\\ud800" }\xff'
    assert without_secrets(body, SPELLED, DIALECT) == body


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[paths]\nreadings = "/readings/v1/{eclSerail}"', r"paths.readings has \{eclSerail\}"),
        ('[paths]\nmaster_data = "/masterData/v1/{externalDeviceId}"', "paths.master_data"),
        ('[paths]\nreadings = "readings/v1"', "begin with /"),
        ("[device]\ninput_full_scale = 0", "input_full_scale"),
        ('[request]\npaging = "pages"', "paging"),
    ],
)
def test_a_wrong_table_stops_the_start_with_the_entrys_name(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "dialect.toml"
    file.write_text(text)
    with pytest.raises(DialectError, match=named):
        load_dialect(file)


def test_every_key_of_the_dialect_is_used() -> None:
    """A key that no code reads would be a switch that does nothing."""
    sources = Path(metering_ecl_poller.__file__).parent.rglob("*.py")
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    unused = [
        f"{section.name}.{key.name}"
        for section in msgspec.structs.fields(Dialect)
        for key in (msgspec.structs.fields(section.type) if section.type is not str else ())
        if not re.search(rf"\.{key.name}\b", code)
    ]
    assert unused == []
