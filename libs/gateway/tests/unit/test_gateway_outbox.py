"""The outbox: durable, in order, and its account closes after every step."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from metering_gateway.domain.answers import Answer
from metering_gateway.domain.measures import Measure, UnstorableMeasureError
from metering_gateway.outbox import LocalStamp, Outbox, ReplayProgress
from metering_gateway.token_file import NoTokenError, TokenFile, TokenPair, exclusive

pytestmark = pytest.mark.fast

REFUSAL = Answer(422, '{"code": "shape"}')


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite")
    yield box
    box.close()


def closes(box: Outbox) -> bool:
    account = box.account()
    kept = account["waiting"] + account["refused"] + account["forgotten_measures"]
    return account["stored_measures"] == account["sent_measures"] + kept


def test_what_was_stored_is_there_after_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    first = Outbox(path)
    first.store([Measure("29", 100, {"Corriente A": 1.4}), Measure("30", 90, {})])
    first.close()
    second = Outbox(path)
    assert [(m.id, m.device_number, m.timestamp) for m in second.due(0)] == [(1, "29", 100), (2, "30", 90)]
    second.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_of_several_all_or_none_are_stored(outbox: Outbox) -> None:
    with pytest.raises(UnstorableMeasureError):
        outbox.store([Measure("29", 100, {"a": 1}), Measure("29", 1 << 63, {"a": 1})])
    with pytest.raises(UnstorableMeasureError):
        outbox.store([Measure("29", 100, {"a": 1}), Measure("\udcff", 1, {"a": 1})])
    assert outbox.due(0) == []
    assert not outbox.account()


def test_unknown_devices_wait_for_their_hour_and_the_others_do_not(outbox: Outbox) -> None:
    outbox.store([Measure("a", 1, {"x": 1}), Measure("b", 2, {"x": 1})])
    outbox.take_out(["a"], REFUSAL, now_ms=1_000, retry_at_ms=5_000)
    outbox.store([Measure("a", 3, {"x": 1})])
    assert [m.device_number for m in outbox.due(4_999)] == ["b"]
    assert outbox.next_due_ms() == 5_000
    assert [m.timestamp for m in outbox.due(5_000)] == [1, 2, 3]
    assert [m.timestamp for m in outbox.due(999)] == [1, 2, 3]  # the clock was set back
    assert outbox.account()["unknown"] == 2
    outbox.delivered(outbox.due(5_000), None, {}, 5_000)
    outbox.store([Measure("a", 4, {"x": 1})])
    assert [m.timestamp for m in outbox.due(1)] == [4]
    assert closes(outbox)


def test_an_operator_may_try_unknown_devices_at_once(outbox: Outbox) -> None:
    outbox.store([Measure("a", 1, {"x": 1})])
    outbox.take_out(["a"], REFUSAL, now_ms=1_000, retry_at_ms=5_000)
    assert outbox.try_unknown_now() == 1
    assert len(outbox.due(2_000)) == 1


def test_measures_of_an_unknown_clock_are_corrected_once_and_only_then_due(outbox: Outbox) -> None:
    outbox.store([Measure("29", 100, {"x": 1})], LocalStamp("this boot", 5_000))
    outbox.store([Measure("29", 200, {"x": 1})], LocalStamp("the boot before", 777_000))
    outbox.store([Measure("29", 7, {"x": 1})])
    assert outbox.has_uncorrected()
    assert [m.timestamp for m in outbox.due(0)] == [7]
    assert outbox.correct("this boot", steady_offset_ms=1_000_999, wall_offset_ms=-30_000) == 2
    assert outbox.correct("this boot", 1, 1) == 0
    assert [m.timestamp for m in outbox.due(0)] == [1_005, 170, 7]


def test_a_full_disk_loses_nothing_and_blocks_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite")
    outbox.store([Measure("29", 1, {"x": 1})])
    outbox._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        outbox.store([Measure("29", at, {"x" * 500: 1}) for at in range(1_000)])
    assert [m.timestamp for m in outbox.due(0)] == [1]
    outbox._db.execute("PRAGMA max_page_count = 100000")
    outbox.delivered(outbox.due(0), None, {}, 0)
    outbox.close()
    again = Outbox(tmp_path / "outbox.sqlite")
    assert again.due(0) == []
    assert closes(again)
    again.close()


def test_what_was_refused_is_kept_with_the_answer_and_can_be_queued_again(outbox: Outbox) -> None:
    outbox.store([Measure("29", 1, {"x": "Ñ"}), Measure("29", 2, {"x": 1})])
    outbox.refuse(outbox.due(0)[0], REFUSAL, now_ms=9)
    (kept,) = outbox.refused(10)
    assert (kept["device_number"], kept["timestamp"], kept["status"], kept["answer"]) == ("29", 1, 422, REFUSAL.text)
    assert kept["sensor_values"] == [{"sensorName": "x", "sensorValue": "Ñ"}]
    assert outbox.requeue_refused() == 1
    assert [m.timestamp for m in outbox.due(0)] == [1, 2]
    assert closes(outbox)


def test_progress_of_a_replay_and_its_measures_are_one_transaction(outbox: Outbox) -> None:
    outbox.replay_begins("file", -3)
    with pytest.raises(UnstorableMeasureError):
        outbox.replay_stored("file", 5, [Measure("29", 1, {"x": 1}), Measure("29", 1 << 63, {"x": 1})])
    assert outbox.replay("file") == ReplayProgress(-3, 0, finished=False)
    assert outbox.replay_stored("file", 5, [Measure("29", 1, {"x": 1})]) == 1
    assert outbox.replay("file") == ReplayProgress(-3, 5, finished=False)
    outbox.replay_finished("file")
    assert outbox.replay("file") == ReplayProgress(-3, 5, finished=True)


def test_a_token_is_written_whole_with_mode_600_over_a_damaged_draft(tmp_path: Path) -> None:
    path = tmp_path / "token.json"
    (tmp_path / "token.new").write_text("{")
    file = TokenFile(path)
    with pytest.raises(NoTokenError, match="import"):
        file.read()
    file.write(TokenPair("first"))
    file.write(TokenPair("second", "access"))
    assert file.read() == TokenPair("second", "access")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["token.json"]
    assert "second" not in repr(file.read())


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "7"])
def test_a_damaged_token_file_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "token.json").write_text(text)
    with pytest.raises(NoTokenError, match="import"):
        TokenFile(tmp_path / "token.json").read()


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path) as first, exclusive(path) as second:
        assert (first, second) == (True, False)
    with exclusive(path) as again:
        assert again


class Histories(RuleBasedStateMachine):
    """Random lives of an outbox: whatever happens, what was stored is sent, waiting, refused or given up."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.box = Outbox(Path(self.directory.name) / "outbox.sqlite")
        self.now = 0

    def teardown(self) -> None:
        self.box.close()
        self.directory.cleanup()

    @rule(device=st.sampled_from("abc"), count=st.integers(1, 5))
    def stores(self, device: str, count: int) -> None:
        self.box.store([Measure(device, self.now, {"x": 1})] * count)

    @rule(count=st.integers(1, 9))
    def delivers(self, count: int) -> None:
        self.box.delivered(self.box.due(self.now)[:count], None, {}, self.now)

    @rule()
    def refuses(self) -> None:
        for measure in self.box.due(self.now)[:1]:
            self.box.refuse(measure, REFUSAL, self.now)

    @rule(device=st.sampled_from("abc"))
    def takes_out(self, device: str) -> None:
        self.box.take_out([device], REFUSAL, self.now, self.now + 10)

    @rule(passed=st.integers(1, 20))
    def waits(self, passed: int) -> None:
        self.now += passed

    @rule()
    def requeues(self) -> None:
        self.box.requeue_refused()

    @rule()
    def forgets(self) -> None:
        self.box.forget_refused()

    @rule()
    def opens_again(self) -> None:
        self.box.close()
        self.box = Outbox(Path(self.directory.name) / "outbox.sqlite")

    @invariant()
    def the_account_closes(self) -> None:
        assert closes(self.box)


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
