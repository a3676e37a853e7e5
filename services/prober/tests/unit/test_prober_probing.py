"""One probe from sending to its result, with an ingest-api and a database that do as they are told."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from metering_common.service.clock import ManualClock
from metering_prober.application import Prober, Sent, UnreadableError
from metering_prober.domain.series import Stored, value_at
from metering_prober.metrics import ProbeMetrics

pytestmark = pytest.mark.fast
NOW = 1_795_000_020


@dataclass
class IngestService:
    answer: Sent = field(default_factory=lambda: Sent("accepted"))
    sent: list[tuple[int, float]] = field(default_factory=list)

    async def send(self, instant: int, value: float) -> Sent:
        self.sent.append((instant, value))
        return self.answer


@dataclass
class Database:
    """Has what was sent after so many looks; or does not answer."""

    ingest_api: IngestService
    looks: int = 0
    fails: bool = False
    lost: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)

    async def has(self, instant: int) -> bool:
        if self.fails:
            raise UnreadableError("away")
        self.looks -= 1
        return self.looks < 0 and instant not in self.lost

    async def since(self, instant: int) -> Mapping[int, Stored]:
        kept = {at: value for at, value in self.ingest_api.sent if at >= instant and at not in self.lost}
        return {at: Stored(value + (at in self.changed), 0) for at, value in kept.items()}


class House:
    def __init__(self) -> None:
        self.clock, self.registry = ManualClock(NOW * 1_000), CollectorRegistry()
        self.ingest_api = IngestService()
        self.database = Database(self.ingest_api)
        self.prober = Prober(
            self.ingest_api,
            self.database,
            self.clock,
            ProbeMetrics(self.registry),
            self.pause,
            every_seconds=30,
            wait_seconds=20,
        )

    async def pause(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(f"metering_prober_{name}", labels)
        assert value is not None
        return value


@pytest.fixture
def house() -> House:
    return House()


async def test_a_probe_that_is_found_is_ok_and_tells_how_late(house: House) -> None:
    house.database.looks = 12
    assert await house.prober.probe(NOW) == "ok"
    assert house.ingest_api.sent == [(NOW, value_at(NOW))]
    assert house.metric("queryable_seconds_sum") == pytest.approx(1.2)
    assert house.metric("last_success_timestamp_seconds") == pytest.approx(NOW + 1.2)
    assert house.metric("probes_total", result="ok") == 1
    assert house.metric("enrolled") == 1


async def test_what_is_not_in_sql_in_time_is_late(house: House) -> None:
    house.database.lost = {NOW}
    assert await house.prober.probe(NOW) == "late"
    assert house.metric("probes_total", result="late") == 1
    assert house.metric("queryable_seconds_count") == 0


@pytest.mark.parametrize("result", ["refused", "unanswered", "no_token"])
async def test_what_ingest_api_does_not_take_is_not_looked_for(house: House, result: str) -> None:
    house.ingest_api.answer = Sent(result, "why")  # type: ignore[arg-type]  # one of them
    house.database.fails = True
    assert await house.prober.probe(NOW) == result
    assert house.metric("enrolled") == (result != "no_token")


async def test_a_database_that_does_not_answer_is_another_result(house: House) -> None:
    house.database.fails = True
    assert await house.prober.probe(NOW) == "unreadable"


async def test_a_lost_measure_is_missing_once_a_later_one_is_there(house: House) -> None:
    house.database.lost = {NOW}
    await house.prober.probe(NOW)
    assert house.metric("series_missing_measures") == 0
    with capture_logs() as lines:
        await house.prober.probe(NOW + 30)
    assert house.metric("series_missing_measures") == 1
    assert [line["missing"] for line in lines if line["event"] == "series.broken"] == [[NOW]]
    house.database.lost = set()
    await house.prober.probe(NOW + 60)
    assert house.metric("series_missing_measures") == 0


async def test_a_changed_measure_is_wrong_for_a_day(house: House) -> None:
    await house.prober.probe(NOW)
    house.database.changed = {NOW}
    await house.prober.probe(NOW + 30)
    assert house.metric("series_wrong_measures") == 1
    await house.prober.probe(NOW + 86_400 + 30)
    assert house.metric("series_wrong_measures") == 0


async def test_a_result_is_told_when_it_changes(house: House) -> None:
    with capture_logs() as lines:
        await house.prober.probe(NOW)
        house.ingest_api.answer = Sent("unanswered", "no answer: refused")
        await house.prober.probe(NOW + 30)
        await house.prober.probe(NOW + 60)
        house.ingest_api.answer = Sent("accepted")
        await house.prober.probe(NOW + 90)
    assert [line["event"] for line in lines] == ["probe.unanswered", "probe.ok"]
