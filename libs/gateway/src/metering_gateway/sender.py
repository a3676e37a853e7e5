"""Sends the outbox to the platform, one request at a time and in order, until nothing more is due."""

from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from metering_gateway.api import BASE_PATH, InputApi
from metering_gateway.clock import GatewayClock
from metering_gateway.domain import packing
from metering_gateway.domain.answers import (
    AT_FAULT,
    Answer,
    Delivered,
    Halve,
    Refuse,
    Smaller,
    TakeOut,
    decide,
    too_slow,
)
from metering_gateway.domain.measures import StoredMeasure
from metering_gateway.domain.request_size import RequestSize
from metering_gateway.domain.server_clock import Offset, best, measured_offset, server_time_ms
from metering_gateway.findings import Findings
from metering_gateway.line import Line
from metering_gateway.notices import Notice, Notify
from metering_gateway.outbox import Outbox

CLOCK_SAMPLES = 3
_CLOCK_TELL_MS = 1_000
CLOCK_EVERY_SECONDS = 900.0  # a quarter of an hour of a bad quartz (100 ppm) is 90 ms


class Sender:
    """One request in flight, so that two values for one key arrive in the order in which they were stored.

    `wait_seconds` above 0 asks for the result inside the 201; `follow` remembers where to read it later.
    `requests` counts this process's answered calls of POST /measurements.
    """

    def __init__(
        self,
        outbox: Outbox,
        api: InputApi,
        line: Line,
        clock: GatewayClock,
        *,
        notify: Notify,
        findings: Findings,
        wait_seconds: int,
        follow: bool,
        unknown_retry_seconds: float,
        answer_seconds: float,
    ) -> None:
        self._outbox = outbox
        self._api = api
        self._line = line
        self._clock = clock
        self._notify = notify
        self._findings = findings
        self._wait_seconds = wait_seconds
        self._follow = follow
        self._unknown_retry_ms = round(unknown_retry_seconds * 1000)
        self._clock_due = clock.steady_seconds()
        self._size = RequestSize(answer_seconds, outbox.request_bytes() or packing.MAX_BODY_BYTES)
        self.requests = self.sent = 0

    async def drain(self) -> None:
        """Returns when nothing is due: what is left belongs to unknown devices. Repeats without end if need be.

        Raises NoTokenError and CredentialsRefusedError.
        """
        while self._outbox.has_uncorrected() or self._outbox.due(self._clock.local_ms(), limit=1):
            await self.keep_clock()
            due = self._outbox.due(self._clock.local_ms())
            await self._send_all(packing.pack(due, max_body_bytes=self._size.body_bytes))

    async def keep_clock(self) -> None:
        """Measures the offset if it is due, and corrects what was stored before it was known."""
        if self._clock.steady_seconds() >= self._clock_due:
            self._clock.offset = best([await self._sample() for _ in range(CLOCK_SAMPLES)])
            self._clock_due = self._clock.steady_seconds() + CLOCK_EVERY_SECONDS
            self._tell_offset(self._clock.offset)
        if self._clock.offset is not None and self._outbox.has_uncorrected():
            now = self._clock.now_ms()
            self._outbox.correct(self._clock.boot(), now - self._clock.steady_ms(), now - self._clock.wall_ms())

    def _tell_offset(self, offset: Offset) -> None:
        """Only of a clock that stamps another second than the platform's."""
        if abs(offset.offset_ms) > max(_CLOCK_TELL_MS, offset.error_ms):
            way = "ahead" if offset.offset_ms < 0 else "behind"
            off = f"{abs(offset.offset_ms) / 1000:.1f} s (±{offset.error_ms} ms)"
            self._notify(Notice("clock", f"this gateway's is {off} {way}; measures of this moment are corrected"))

    async def _sample(self) -> Offset:
        sent = received = 0

        async def call(access: str) -> Answer:
            nonlocal sent, received
            sent = self._clock.local_ms()
            answer = await self._api.server_time(access)
            received = self._clock.local_ms()
            return answer

        answer = await self._line.ask(call, _holds_time)
        return measured_offset(sent, server_time_ms(answer.document()), received)

    async def _send_all(self, packed: Sequence[StoredMeasure]) -> None:
        """Sends one request's worth, in parts where it must be; the parts keep their order."""
        parts = [packed] if packed else []
        while parts:
            part = parts.pop()
            numbers = packing.device_numbers(part)
            body = packing.body(part)
            answer = await self._post(body, len(part))
            match decide(answer, len(part), numbers):
                case Delivered():
                    self._delivered(part, answer)
                    self._size.delivered(len(body), answer.seconds)
                    self._outbox.remember_request_bytes(self._size.body_bytes)
                case Refuse():
                    self._refuse(part[0], answer)
                case Smaller():
                    self._make_smaller(len(body), len(part))
                    return
                case Halve():
                    first, second = packing.halves(part)
                    parts += [second, first]
                case TakeOut(devices):
                    self._take_out(devices, answer)
                    rest = [measure for measure in part if measure.device_number not in devices]
                    parts += [rest] if rest else []

    async def _post(self, body: bytes, measure_count: int) -> Answer:
        answer = await self._line.ask(
            lambda access: self._api.send(access, body, self._wait_seconds),
            _about_measures,
            hopeless=lambda answer: measure_count > 1 and too_slow(answer),
        )
        self.requests += 1
        return answer

    def _make_smaller(self, sent_bytes: int, measure_count: int) -> None:
        """What is left of the request is packed again, by the size that is remembered."""
        self._size.too_slow(sent_bytes)
        self._outbox.remember_request_bytes(self._size.body_bytes)
        text = f"{measure_count} measures in one request are too many for it: now at most {self._size.body_bytes} bytes"
        self._notify(Notice("slow-line", f"{text} of JSON, until it carries more"))

    def _delivered(self, part: Sequence[StoredMeasure], answer: Answer) -> None:
        location = _result_path(answer) if self._follow else None
        warnings = self._findings.tell(answer.document().get("warnings"))
        counts = {f"warning:{what}": count for what, count in warnings.items()}
        self._outbox.delivered(part, location, counts, self._clock.local_ms())
        self.sent += len(part)

    def _refuse(self, measure: StoredMeasure, answer: Answer) -> None:
        self._outbox.refuse(measure, answer, self._clock.local_ms())
        which = f"device {measure.device_number}, timestamp {measure.timestamp}"
        self._notify(Notice("refused", f"{which}: kept as refused: {answer.summary()}"))

    def _take_out(self, devices: Sequence[str], answer: Answer) -> None:
        now = self._clock.local_ms()
        self._outbox.take_out(devices, answer, now, now + self._unknown_retry_ms)
        again = f"kept, tried again in {self._unknown_retry_ms / 60_000:.0f} min"
        self._notify(Notice("unknown-device", f"{', '.join(devices)}: not registered on the platform; {again}"))


def _about_measures(answer: Answer) -> bool:
    return answer.status == HTTPStatus.CREATED or answer.status in AT_FAULT


def _holds_time(answer: Answer) -> bool:
    """A captive portal answers 200 too."""
    try:
        server_time_ms(answer.document())
    except ValueError:
        return False
    return answer.status == HTTPStatus.OK


def _result_path(answer: Answer) -> str | None:
    """Only the path is taken, under the published base: the access token must not follow a name elsewhere."""
    path = urlsplit(answer.headers.get("location", "")).path
    return path if path.startswith(f"{BASE_PATH}/") else None
