"""What of the local platform can be known without starting it."""

import errno
import re
import shutil
import socket
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import pytest

from metering_local import follow, jars, kafka_jars, lock, preflight
from metering_local.caddyfile import caddyfile
from metering_local.checkout import ROOT
from metering_local.cli import run_command
from metering_local.demo_account import Account, faults
from metering_local.demo_house import BAD_MEASURES, METERS, House, read_house
from metering_local.errors import EnvironmentProblemError
from metering_local.free_ports import free_port, take
from metering_local.roles import random_passwords, roles_sql
from metering_local.stack import PORT_COUNT, Stack, write_private
from metering_local.testing_stack import free_base

pytestmark = pytest.mark.fast


def test_no_two_processes_listen_at_the_same_place(tmp_path: Path) -> None:
    listeners = list(Stack(tmp_path, 20_000).ports.listeners().values())
    assert len(set(listeners)) == len(listeners)
    assert all(20_000 <= port < 20_000 + PORT_COUNT for _, port in listeners)


def test_the_balancer_asks_both_ingest_apis_for_their_readiness(tmp_path: Path) -> None:
    text = caddyfile(Stack(tmp_path, 20_000))
    assert "127.0.0.1:20001 127.0.0.2:20001" in text
    assert "health_uri /readyz" in text
    assert "health_port 20021" in text


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    stack = Stack(tmp_path, 20_000)
    assert stack.secrets == Stack(tmp_path, 20_000).secrets
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert stack.secrets.auth_master_key != stack.secrets.ecl_master_key


def test_a_folder_that_was_deleted_and_recreated_meets_no_data_of_before(tmp_path: Path) -> None:
    """As root the data lies elsewhere when others cannot go into the folder, as they cannot into pytest's."""
    (tmp_path / "state").mkdir()
    data = Stack(tmp_path / "state", 20_000).postgres.data
    (data / "PG_VERSION").touch()
    shutil.rmtree(tmp_path / "state")
    (tmp_path / "state").mkdir()
    assert list(Stack(tmp_path / "state", 20_000).postgres.data.iterdir()) == []


def test_a_port_given_out_is_not_given_again_and_takes_a_server() -> None:
    port = free_port()
    assert not take(port)
    with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(server.getsockname()):
        assert not take(port)


def test_stacks_that_are_not_up_yet_have_ports_of_their_own() -> None:
    assert abs(free_base() - free_base()) >= PORT_COUNT


def test_a_private_file_replaces_one_that_was_open_to_others(tmp_path: Path) -> None:
    file = tmp_path / "local.env"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)


def test_no_role_may_do_more_than_log_in() -> None:
    passwords = random_passwords()
    script = roles_sql(passwords)
    assert all(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE" in script for role in passwords)
    assert len(set(passwords.values())) == len(passwords)


def test_every_package_asked_for_is_locked_with_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    locked = {_plain(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}
    asked = {_plain(re.split(r"[\[<>=!~;\s]", line, maxsplit=1)[0]) for line in lock.external_requirements(ROOT)}
    assert asked <= locked
    assert "://" not in text
    assert len(re.findall(r"^[A-Za-z0-9._-]+==.*\\\n    --hash=", text, re.MULTILINE)) == len(locked)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_a_wrong_jar_is_named(tmp_path: Path) -> None:
    (tmp_path / "kafka-clients-4.2.0.jar").write_text("not Kafka")
    with pytest.raises(EnvironmentProblemError, match=r"kafka-clients-4\.2\.0\.jar"):
        jars.check_jars(tmp_path, kafka_jars.pinned())


def test_too_little_disk_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblemError, match="no disk space left in") as caught:
        preflight.check_disk(tmp_path, needed_bytes=1 << 62)
    assert "\n" not in str(caught.value)


def test_a_disk_that_fills_up_later_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fill_up() -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/state/kafka")

    with pytest.raises(SystemExit) as caught:
        run_command(fill_up)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "no disk space left: /state/kafka could not be written\n"


def test_the_house_is_reckoned_from_its_file() -> None:
    house = read_house(date(2026, 3, 12))
    assert {day for _, day in house.energy} == {date(2026, 3, 9), date(2026, 3, 10), date(2026, 3, 11)}
    assert house.values == 2880 * 8 + 4 - 60 + 1
    assert house.measures == 2880 * 4 + 4 - 60 + 1
    assert round(house.energy["kitchen", date(2026, 3, 10)], 6) == Decimal("1.170000")


def closing_account(house: House) -> Account:
    stored, bad = house.values, len(BAD_MEASURES)
    ledger = {"values": stored + bad, "accepted": stored, "refused": bad - 1, "not_taken": 1, "repeated": 0}
    rows = {"written": stored, "corrected": 0, "present": 0, "superseded": 0, "stored": stored, "dead": 0}
    return Account(
        sent_measures=house.measures + bad,
        sent_values=stored + bad,
        repeats=0,
        requests=1,
        ledger=MappingProxyType(ledger | rows),
        refusals=[{"count": bad - 1}],
        energy=dict(house.energy),
    )


@pytest.fixture
def house() -> House:
    energy = {(number, date(2026, 3, 11) + timedelta(day)): Decimal(7) for number in METERS for day in range(2)}
    return House(energy, measures=12, values=24)


def test_an_account_that_closes_has_no_fault(house: House) -> None:
    assert faults(closing_account(house), house) == []


@pytest.mark.parametrize(
    "wrong",
    ["values", "accepted", "refused", "not_taken", "repeated", "written", "corrected", "present", "superseded",
     "stored", "dead"],
)  # fmt: skip
def test_one_value_more_or_less_in_any_column_is_a_fault(house: House, wrong: str) -> None:
    account = closing_account(house)
    assert faults(replace(account, ledger=account.ledger | {wrong: account.ledger[wrong] + 1}), house)  # type: ignore[operator]  # a MappingProxyType joins too


def test_a_watt_second_of_difference_is_a_fault_and_a_rounding_is_none(house: House) -> None:
    account = closing_account(house)
    place = next(iter(house.energy))
    assert faults(replace(account, energy=account.energy | {place: Decimal("7.0000002")}), house) == []
    assert len(faults(replace(account, energy=account.energy | {place: Decimal("7.0000020")}), house)) == 1
    assert len(faults(replace(account, energy={}), house)) == len(house.energy)


def test_a_batch_is_followed_by_time_through_all_logs(tmp_path: Path) -> None:
    (tmp_path / "writer.log").write_text(
        '{"event":"records.stored","time":"2026-03-12T10:00:02Z","batch_ids":["b-1","b-2"],"records":2}\n'
        '{"event":"records.stored","time":"2026-03-12T10:00:03Z","batch_ids":["b-3"]}\n'
    )
    (tmp_path / "ingest-api-2.log").write_text(
        'a line of a library about b-1\n{"event":"batch.enqueued","time":"2026-03-12T10:00:01Z","batch_id":"b-1","sta\n'
        '{"event":"batch.enqueued","time":"2026-03-12T10:00:01Z","batch_id":"b-1","status":201}\n'
    )
    lines = [line.split() for line in follow.follow_batch(tmp_path, "b-1")]
    assert [line[2:4] for line in lines[1:]] == [["ingest-api-2", "batch.enqueued"], ["writer", "records.stored"]]
    assert "status=201" in lines[1]
    assert follow.follow_batch(tmp_path, "") == []
