"""The client's front: store measures, have them sent, know what became of them."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from metering_gateway.api import InputApi
from metering_gateway.clock import GatewayClock, LocalTime, SystemTime
from metering_gateway.disk import LOW_FREE_BYTES
from metering_gateway.domain.answers import Answer
from metering_gateway.domain.measures import Measure, SensorValues
from metering_gateway.domain.pace import BackOff
from metering_gateway.findings import Findings
from metering_gateway.line import Line
from metering_gateway.notices import Notice, Notify, log_notice
from metering_gateway.outbox import LocalStamp, OutboxLimits, open_outbox
from metering_gateway.outbox_file import Salvage
from metering_gateway.results import Results
from metering_gateway.sender import Sender
from metering_gateway.summary import Summary, summarise
from metering_gateway.token_file import NoTokenError, TokenFile, exclusive
from metering_gateway.tokens import CredentialsRefusedError, Tokens
from metering_gateway.upkeep import UPKEEP_SECONDS, Upkeep

_POLL_SECONDS = 0.5  # how soon a measure that was stored beside is sent
_LOCK_POLL_SECONDS = 0.5  # how soon this process sends after another one has ended
_LAST_TRIES = 5  # after the block of `sending` has ended, on errors of this machine
_CREDENTIALS_SECONDS = 300.0  # until a refused token is tried again: somebody may have imported another
OUTBOX_FILE, TOKEN_FILE, TOKEN_LOCK, SENDING_LOCK = "outbox.sqlite", "token.json", "token.lock", "sending.lock"


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """`url`: the platform's base URL without a path. `state_directory`: made with mode 700 if it is missing.

    `wait_seconds`: ask for the result inside each 201 (0: do not, at most 10). `follow_results`: remember each
    batch and read its result afterwards. `answer_seconds`: the longest wait for one answer. `limits`: of the outbox.
    `disk_low_bytes`: a notice goes out when the disk has less. `ca_file`, `proxy`, `client_certificate` and
    `client_key`: see `InputApi`.
    """

    url: str
    state_directory: Path
    wait_seconds: int = 0
    follow_results: bool = True
    answer_seconds: float = 30.0
    unknown_retry_seconds: float = 3_600.0
    back_off: BackOff = field(default_factory=BackOff)
    limits: OutboxLimits = field(default_factory=OutboxLimits)
    disk_low_bytes: int = LOW_FREE_BYTES
    ca_file: Path | None = None
    proxy: str | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None


class AnotherSenderError(Exception):
    """Another process sends from this state directory; what was stored is in its hands."""


class Gateway:
    """`async with Gateway(config) as gateway: gateway.store("29", {"Corriente A": 1.4}); await gateway.flush()`.

    `store` returns when the measure is durable; everything after that survives a kill at any moment.
    """

    def __init__(
        self,
        config: GatewayConfig,
        notify: Notify = log_notice,
        local_time: LocalTime | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._config = config
        self._notify = notify
        self._rng = rng or random.Random()  # noqa: S311  # jitter, no secret
        self.clock = GatewayClock(local_time or SystemTime())
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _open(self) -> None:
        config, directory = self._config, self._config.state_directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.outbox = self._stack.enter_context(closing(open_outbox(directory / OUTBOX_FILE, config.limits)))
        if self.outbox.salvage:
            self._notify(Notice("damaged", self.outbox.salvage.text()))
        self._api = await self._stack.enter_async_context(_api(config))
        tokens = Tokens(TokenFile(directory / TOKEN_FILE), directory / TOKEN_LOCK, self._api, self.clock)
        self._line = Line(tokens, self.clock, config.back_off, self._notify, rng=self._rng)
        findings = Findings(self._notify)
        self._results = Results(self.outbox, self._api, self._line, self.clock, findings=findings)
        self._sender = self._made_sender(findings)
        self._upkeep = Upkeep(self.outbox, self.clock, self._notify, config.disk_low_bytes)
        self._before = self.outbox.account()

    def _made_sender(self, findings: Findings) -> Sender:
        config = self._config
        return Sender(
            self.outbox,
            self._api,
            self._line,
            self.clock,
            notify=self._notify,
            findings=findings,
            wait_seconds=config.wait_seconds,
            follow=config.follow_results,
            unknown_retry_seconds=config.unknown_retry_seconds,
            answer_seconds=config.answer_seconds,
        )

    @property
    def salvage(self) -> Salvage | None:
        """What became of a damaged outbox that was found at the start; None if it was whole."""
        return self.outbox.salvage

    @property
    def sent_measures(self) -> int:
        """Measures that the platform answered with 201, to this process."""
        return self._sender.sent

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def store(self, device_number: str, values: SensorValues, timestamp: int | None = None) -> None:
        """Stores one measure. Without a `timestamp` (Unix seconds, by the platform's clock) it is of this moment.

        As long as the platform's clock is not known, this moment is corrected before the measure is first sent.
        Raises UnstorableMeasureError, DiskFullError, sqlite3.Error when the disk is broken, and OutboxDamagedError;
        then nothing was stored.
        """
        known = timestamp is not None or self.clock.offset is not None
        moment = self.clock.now_ms() // 1000 if timestamp is None else timestamp
        stamp = None if known else LocalStamp(self.clock.boot(), self.clock.steady_ms())
        self.outbox.store([Measure(device_number, moment, values)], stamp)

    async def flush(self) -> Summary:
        """Sends until nothing is due, however long the platform is away; then reads the results that are followed.

        Cancel it to give up: nothing is lost.

        Raises AnotherSenderError, NoTokenError, CredentialsRefusedError, sqlite3.Error and OutboxDamagedError.
        """
        with self._alone():
            await self._drain()
        return self.summary()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Sends beside what is done inside it, and at its end until nothing is due.

        Waits while another process sends from the same directory. An error of this machine (a busy or broken disk)
        is reported, and sending starts again. Raises as `flush`, but only at the end: that nothing can be sent is no
        reason to stop storing.
        """
        done = asyncio.Event()
        task = asyncio.create_task(self._send_until(done))
        try:
            yield
            done.set()
            await task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def device(self, number: str) -> Answer:
        """The device by the provider's number: 200 with its sensors, or 404."""
        return await self._line.ask(lambda access: self._api.device(access, number), _about_device)

    def summary(self) -> Summary:
        """What was done since this process began, and what stands in the outbox now."""
        return summarise(self._before, self.outbox.account(), self._sender.requests, self._line.repeats)

    async def _send_until(self, done: asyncio.Event) -> None:
        """Starts the sending again whenever an error of this machine ended it; after `done` some times only."""
        failures, last_tries = 0, _LAST_TRIES
        while True:
            began = self.clock.steady_seconds()
            try:
                return await self._send_while(done)
            except (AnotherSenderError, NoTokenError, CredentialsRefusedError):
                raise  # only after `done`
            except Exception as error:  # whatever it was: measures wait here
                last_tries -= done.is_set()
                if not last_tries:
                    raise
                failures = 1 if self.clock.steady_seconds() - began > UPKEEP_SECONDS else failures + 1
                pause = self._config.back_off.delay(failures, None, self._rng.random())
                why = f"{type(error).__name__}: {error}"
                self._notify(Notice("stopped", f"sending stopped ({why}) and starts again in {pause:.1f} s"))
            await (asyncio.sleep(pause) if done.is_set() else _set_within(done, pause))

    async def _send_while(self, done: asyncio.Event) -> None:
        async with self._alone_at_last(done):
            while not done.is_set():
                pause = await self._send_once()
                await _set_within(done, pause)
            await self._drain()

    @asynccontextmanager
    async def _alone_at_last(self, done: asyncio.Event) -> AsyncIterator[None]:
        """Waits for the lock, and says so once. Raises AnotherSenderError if it is not free when `done` is set."""
        reported = False
        while True:
            last = done.is_set()
            with exclusive(self._config.state_directory / SENDING_LOCK) as mine:
                if mine:
                    yield
                    return
            if last:
                raise AnotherSenderError(f"another process sends from {self._config.state_directory}")
            if not reported:
                self._notify(Notice("waiting", f"another process sends from {self._config.state_directory}"))
                reported = True
            await _set_within(done, _LOCK_POLL_SECONDS)

    async def _drain(self) -> None:
        self._upkeep.run()
        await self._sender.drain()
        await self._results.read_all()
        self._upkeep.give_back()

    async def _send_once(self) -> float:
        """Seconds until the next time. Without a good token the measures go on being stored, and it is said."""
        self._upkeep.run_if_due()
        try:
            await self._sender.drain()
            await self._results.read_due()
            self._upkeep.give_back()
        except (CredentialsRefusedError, NoTokenError) as error:
            self._notify(Notice("credentials", str(error)))
            return _CREDENTIALS_SECONDS
        return _POLL_SECONDS

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with exclusive(self._config.state_directory / SENDING_LOCK) as mine:
            if not mine:
                raise AnotherSenderError(f"another process sends from {self._config.state_directory}")
            yield


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set, at the latest after so many seconds."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _api(config: GatewayConfig) -> InputApi:
    return InputApi(
        config.url,
        config.answer_seconds,
        config.ca_file,
        proxy=config.proxy,
        client_certificate=config.client_certificate,
        client_key=config.client_key,
    )


def _about_device(answer: Answer) -> bool:
    """The device, or the platform's own word that it knows none (a proxy's 404 has no code)."""
    document = answer.document()
    if answer.status == HTTPStatus.OK:
        return "sensors" in document
    return answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST} and "code" in document
