"""What comes before what: the answer before its reading, Kafka's acknowledgement before the cursor."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from metering_common.kafka.publisher import PublishUnavailableError
from metering_common.registry.documents import Device
from metering_ecl_poller.adapters.portal.client import PortalClient
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.application.observer import Observer
from metering_ecl_poller.application.polling import Polling
from metering_ecl_poller.domain.elements import PortalElement
from metering_ecl_poller.domain.job import DeviceProgress, PollJob, RecordedProgress
from metering_ecl_poller.domain.portal.answer import PortalAnswer
from metering_ecl_poller.domain.portal.models import MasterData
from metering_ecl_poller.metrics import PollerMetrics
from tests.emulators.ecl_portal.connected import ConnectedPortal
from tests.emulators.ecl_portal.station import PROVIDER, mapping_of

pytestmark = pytest.mark.fast


@dataclass
class Diary:
    """Book, outlet and keeper of answers in one, which writes down what it was asked for and may refuse."""

    refuses: str = ""
    steps: list[str] = field(default_factory=list)

    def step(self, what: str) -> None:
        self.steps.append(what)
        if what == self.refuses:
            raise PublishUnavailableError("deadline")

    async def archive(self, answer: PortalAnswer) -> None:
        self.step(f"answer {answer.call}")

    async def note_master(self, _job: PollJob, _master: MasterData, _now_ms: int) -> list[str]:
        self.step("master data read")
        return []

    async def note_clock(self, _job: PollJob, _state: str, _offset_ms: int) -> None:
        self.step("clock")

    async def note_problem(self, _job: PollJob, _device: str, _problem: str) -> None:
        self.step("problem")

    async def advance(self, _job: PollJob, _progress: DeviceProgress, _now_ms: int) -> RecordedProgress:
        self.step("cursors")
        return RecordedProgress(gaps=[], problem_is_new=False)

    async def find_device(self, provider: int, number: str) -> Device | None:
        return Device(id=1, provider=provider, number=number, sensors=())

    async def publish(
        self, _device: Device, _elements: Sequence[PortalElement], _version: int, _traceparent: str | None = None
    ) -> list[str]:
        self.step("measures")
        return ["batch"]


async def poll(connected: ConnectedPortal, diary: Diary) -> None:
    dialect = load_dialect()
    client = PortalClient(connected.session, dialect, connected.clock, diary.archive)
    observer = Observer(PollerMetrics(CollectorRegistry()))
    polling = Polling(diary, diary, lambda _job: client, dialect=dialect, clock=connected.clock, observer=observer)
    job = PollJob(
        account=connected.account(),
        lease=1,
        attempts=0,
        state="new",
        clock_state=None,
        clock_offset_ms=None,
        mapping=mapping_of(connected.controller, connected.clock.now_ms()),
        mapping_version=1,
    )
    assert job.mapping is not None
    assert job.mapping.devices[0].provider == PROVIDER
    await polling.poll(job)


async def test_the_answer_is_kept_first_and_the_cursor_moves_last(connected: ConnectedPortal) -> None:
    diary = Diary()
    await poll(connected, diary)
    assert diary.steps[:2] == ["answer masterData", "master data read"]
    device_by_device = "|".join(diary.steps[2:-1]).split("cursors")
    assert all(part.strip("|").startswith("answer readings") for part in device_by_device[:-1])
    assert all(part.strip("|").endswith("measures") for part in device_by_device[1:-1])
    assert diary.steps[-1] == "clock"


async def test_an_answer_that_cannot_be_kept_is_not_read(connected: ConnectedPortal) -> None:
    diary = Diary(refuses="answer masterData")
    with pytest.raises(PublishUnavailableError):
        await poll(connected, diary)
    assert diary.steps == ["answer masterData"]


async def test_measures_without_acknowledgement_move_no_cursor(connected: ConnectedPortal) -> None:
    diary = Diary(refuses="measures")
    with pytest.raises(PublishUnavailableError):
        await poll(connected, diary)
    assert "measures" in diary.steps
    assert diary.steps[-1] == "measures"
