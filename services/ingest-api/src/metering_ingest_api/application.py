"""ingest-api's work on a measurements request: who sends, which devices, one record each, a promise once all are in."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

from metering_common.contract import topics
from metering_common.contract.batch_id import new_batch_id
from metering_common.contract.messages import Finding, Outcome
from metering_common.contract.metadata import RecordHeaders, RegistryVersion, encode_headers
from metering_common.contract.rev import http_rev
from metering_common.http.problems import Fault, Problem, unauthorized, unavailable
from metering_common.kafka.publisher import PublishUnavailableError, Record, RecordTooLargeError
from metering_common.registry.documents import Device
from metering_common.registry.memory import Registry
from metering_common.service.clock import Clock
from metering_ingest_api.domain import batch_results, devices, elements, limits
from metering_ingest_api.domain.batch_results import Told
from metering_ingest_api.domain.elements import Document, Element
from metering_ingest_api.domain.tokens import Sender, Tokens, UnknownToRegistryError

CATCH_UP_SECONDS = 1.0
"""How long a miss waits for the registry's end; with the publisher's deadline it stays below the promised 3 s."""
ANSWER_SECONDS = 2.9  # from the last byte of the body to the answer, always
LEAST_PUBLISH_SECONDS = 0.5
MAX_TOLD = 256
"""So many characters of a device's number stand in an error; no registered one has more."""


class Replica(Protocol):
    """What ingest-api asks of `metering_common.registry.replica.RegistryReplica`."""

    registry: Registry
    version: RegistryVersion | None

    async def catch_up(self, timeout_seconds: float = ...) -> bool: ...


class Publisher(Protocol):
    """What ingest-api asks of `metering_common.kafka.publisher.Publisher`."""

    async def publish(self, records: Sequence[Record], deadline_seconds: float | None = ...) -> Sequence[Any]: ...


class Coming(Protocol):
    """The outcomes of a batch that is watched."""

    async def within(self, seconds: float) -> list[Outcome] | None: ...


class OutcomesTail(Protocol):
    """What ingest-api asks of `adapters.outcomes.OutcomesTail`."""

    def expect(self, batch_id: UUID) -> AbstractAsyncContextManager[Coming | None]: ...


class OutcomesScan(Protocol):
    """What ingest-api asks of `adapters.outcome_scan.OutcomesScan`."""

    async def find(self, batch_id: UUID, charge: Callable[[int], None]) -> list[Told]: ...


class Account(Protocol):
    """Who pays for a request's work before it is done."""

    def take_bytes(self, size: int) -> None:
        """Work that costs as much as so many bytes more; raises a 429 `Problem`."""

    def take_values(self, count: int) -> None:
        """Values that are to be validated and stored; raises a 429 `Problem`."""


class Submission(NamedTuple):
    """A measurements request whose body has been read."""

    sender: Sender
    body: bytes
    """Inflated."""
    received_at_ms: int
    """When its headers were read."""
    traceparent: str | None


class Batch(NamedTuple):
    """A submission on its way to Kafka: one record per element, in the request's order."""

    id: UUID
    records: list[Record]
    measures: int


class Wait(NamedTuple):
    """How waiting for a result ended."""

    end: Literal["told", "late", "not_watched"]
    findings: list[Finding]
    seconds: float


class IngestService:
    """The use cases behind the published paths. Every refusal is a `Problem`."""

    def __init__(
        self,
        replica: Replica,
        publisher: Publisher,
        outcomes: tuple[OutcomesTail, OutcomesScan],
        tokens: Tokens,
        clock: Clock,
    ) -> None:
        self._replica, self._publisher = replica, publisher
        self._tail, self._scan = outcomes
        self._tokens, self._clock = tokens, clock

    async def authenticate(self, token: str) -> Sender:
        """Raises 401, or 503 while it cannot be told whether the key or the gateway exists."""
        try:
            return self._tokens.sender(token, self._clock.now_ms() / 1_000)
        except UnknownToRegistryError:
            await self._catch_up()
        try:
            return self._tokens.sender(token, self._clock.now_ms() / 1_000)
        except UnknownToRegistryError:
            raise unauthorized("token_invalid", "the token's key or gateway does not exist") from None

    async def device_by_id(self, sender: Sender, device_id: int) -> dict[str, Any]:
        return await self._device(lambda registry: devices.find_by_id(registry, sender.provider, device_id))

    async def device_by_number(self, sender: Sender, number: str) -> dict[str, Any]:
        return await self._device(lambda registry: devices.find_by_number(registry, sender.provider, number))

    def dictionary(self) -> list[dict[str, str]]:
        return devices.dictionary_document(self._replica.registry)

    async def prepare(self, submission: Submission, account: Account) -> Batch:
        """Everything that can be refused is refused here; nothing has been enqueued when this returns or raises."""
        document = split(submission.body, account)
        limits.check(document)
        account.take_values(document.values)
        parts = document.elements
        targets = await self._targets(submission.sender.provider, parts)
        batch_id = new_batch_id(submission.received_at_ms)
        return Batch(
            batch_id,
            self._records(submission, batch_id, parts, targets),
            sum([len(part.timestamps) for part in parts]),
        )

    async def enqueue(self, batch: Batch, body_read_at: float) -> None:
        """Returns when every record is acknowledged by all in-sync replicas: the 201 rests on it. Else 503.

        `body_read_at` is the monotonic second of the body's last byte.
        """
        deadline = ANSWER_SECONDS - (self._clock.monotonic() - body_read_at)
        try:
            await self._publisher.publish(batch.records, max(LEAST_PUBLISH_SECONDS, deadline))
        except PublishUnavailableError as error:
            raise _not_published(error) from error
        except RecordTooLargeError as error:
            raise unavailable("record_too_large", "a topic is smaller than its contract", 60, "too_large") from error

    async def enqueue_and_wait(self, batch: Batch, body_read_at: float, seconds: float) -> Wait:
        """As `enqueue`, and then up to so many seconds for the result."""
        async with self._tail.expect(batch.id) as coming:
            await self.enqueue(batch, body_read_at)
            since = self._clock.monotonic()
            outcomes = None if coming is None else await coming.within(seconds)
        waited = self._clock.monotonic() - since
        if outcomes is not None:
            return Wait("told", batch_results.findings(outcomes), waited)
        return Wait("not_watched" if coming is None else "late", [], waited)

    async def result(self, sender: Sender, batch_id: str, account: Account) -> dict[str, Any]:
        """What became of the sender's provider's batch: 404 outside the window, 503 when it cannot be told."""
        batch = batch_results.batch_in_window(batch_id, self._clock.now_ms())
        told = await self._scan.find(batch, account.take_bytes)
        return batch_results.result(batch, sender.provider, told, self._clock.now_ms())

    async def _device(self, find: Callable[[Registry], Device | None]) -> dict[str, Any]:
        if (device := find(self._replica.registry)) is None:
            await self._catch_up()
            device = find(self._replica.registry)
        if device is None:
            raise devices.no_such_device()
        return devices.device_document(self._replica.registry, device)

    async def _targets(self, provider: int, parts: Sequence[Element]) -> list[Device]:
        """The device of each element; all that are not this provider's are named in one 422."""
        found = self._find_all(provider, parts)
        if None in found:
            await self._catch_up()
            found = self._find_all(provider, parts)
        targets = [device for device in found if device is not None]
        if len(targets) < len(found):
            raise _devices_unknown(parts, found)
        return targets

    def _find_all(self, provider: int, parts: Sequence[Element]) -> list[Device | None]:
        registry = self._replica.registry
        return [devices.find_by_number(registry, provider, part.device_number) for part in parts]

    async def _catch_up(self) -> None:
        """On a miss: what is still missing after this does not exist. Raises 503 when that is not sure."""
        if not await self._replica.catch_up(CATCH_UP_SECONDS):
            raise _registry_stale()

    def _records(
        self, submission: Submission, batch_id: UUID, parts: Sequence[Element], targets: Sequence[Device]
    ) -> list[Record]:
        if (version := self._replica.version) is None:
            raise _registry_stale()
        return [
            Record(
                topics.RAW,
                str(device.id).encode(),
                part.value,
                encode_headers(
                    RecordHeaders(
                        batch_id=batch_id,
                        item=item,
                        items=len(parts),
                        provider_id=submission.sender.provider,
                        gateway_id=submission.sender.gateway,
                        device_id=device.id,
                        source="http",
                        received_at_ms=submission.received_at_ms,
                        rev=http_rev(submission.received_at_ms, batch_id, item),
                        registry=version,
                        traceparent=submission.traceparent,
                    )
                ),
            )
            for item, (part, device) in enumerate(zip(parts, targets, strict=True))
        ]


def split(body: bytes, account: Account) -> Document:
    """Returns the request's elements; raises 400 for what is no JSON of ours, 422 for another shape."""
    try:
        return elements.split(body, account.take_bytes)
    except elements.MalformedBodyError as error:
        raise Problem(400, "malformed_body", str(error)) from error
    except elements.ShapeError as error:
        raise Problem(422, "wrong_shape", error.detail, errors=[Fault(error.pointer, error.detail)]) from error


def _registry_stale() -> Problem:
    """Staleness is never a 4xx."""
    return unavailable("registry_stale", "the registry is not up to date at the moment", 2, "registry_stale")


def _devices_unknown(parts: Sequence[Element], found: Sequence[Device | None]) -> Problem:
    faults = [
        Fault(f"/{number}/deviceNumber", f"this provider has no device {part.device_number[:MAX_TOLD]!r}")
        for number, (part, device) in enumerate(zip(parts, found, strict=True))
        if device is None
    ]
    numbers = dict.fromkeys(part.device_number for part, device in zip(parts, found, strict=True) if device is None)
    return Problem(
        422,
        "devices_unknown",
        "take these devices out, keep their measures and try them again hourly",
        errors=faults,
        extra={"deviceNumbers": list(numbers)},
    )


def _not_published(error: PublishUnavailableError) -> Problem:
    """After `deadline` and `failed` the records may land all the same: the resend is safe (invariant 3)."""
    if error.reason in ("deadline", "failed"):
        detail = "not every record was acknowledged in time; send the same request again"
        return unavailable("kafka_late", detail, error.retry_after_seconds, error.reason)
    code = "overloaded" if error.reason == "in_flight" else "kafka_unavailable"
    return unavailable(
        code, "nothing was enqueued; send the same request again", error.retry_after_seconds, error.reason
    )
