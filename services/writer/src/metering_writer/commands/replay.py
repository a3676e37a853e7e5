"""`metering-writer replay`: what was refused or not taken is validated again, once the registry is mended."""

import argparse
import asyncio
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TextIO
from uuid import UUID

import asyncpg
from aiokafka import ConsumerRecord
from rich.console import Console
from rich.progress import track

from metering_common.contract.metadata import (
    MalformedHeadersError,
    RecordHeaders,
    RecordPosition,
    decode_headers,
    encode_headers,
)
from metering_common.contract.topics import RAW
from metering_common.kafka.publisher import Publisher, PublishUnavailableError
from metering_common.kafka.publisher import Record as KafkaRecord
from metering_common.postgres import pool as postgres
from metering_common.postgres.instants import instant_of
from metering_common.service.clock import SystemClock
from metering_writer.adapters.archive import Archive
from metering_writer.domain.error_classification import backoff_seconds
from metering_writer.domain.replaying import replayed
from metering_writer.queries import sql
from metering_writer.settings import ToolSettings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  argparse has no other name for it

STILL_OPEN = 3  # exit status: sent, but not all of it was validated and stored in time


class Sent(NamedTuple):
    """A record that was put on the raw topic again, as the ledger will name it."""

    batch_id: UUID
    received_at: datetime


def add_to(commands: "Commands") -> None:
    """`replay`."""
    parser = commands.add_parser(
        "replay", help="validate refused and not taken values again (a dry run without --apply)"
    )
    parser.add_argument("--device", type=int, required=True, help="the platform's id of the device")
    parser.add_argument("--from", dest="since", type=instant, required=True, help="received at or after, ISO 8601")
    parser.add_argument("--to", dest="upto", type=instant, required=True, help="received before, ISO 8601")
    parser.add_argument("--rule", help="only records with a refusal by this rule")
    parser.add_argument("--apply", action="store_true", help="do it")
    parser.add_argument("--wait-seconds", type=float, default=60, help="how long to wait for the new results")
    parser.set_defaults(handle=replay)


async def replay(settings: ToolSettings, asked: argparse.Namespace, out: TextIO) -> int:
    """Safe to repeat: what has been validated again is no longer chosen, and a record sent twice is stored once."""
    async with postgres.pool(settings.database_url, application_name="metering-writer-cli") as pool:
        chosen = await pool.fetch(sql.records_to_replay, asked.device, asked.since, asked.upto, asked.rule)
        _describe(chosen, out)
        if not asked.apply:
            out.write("dry run: nothing was sent; add --apply\n")
            return 0
        sent = await send_again(settings, [_Choice.of(row) for row in chosen], out)
        still_open = await _wait(pool, sent, asked.wait_seconds)
        await _report(pool, sent, still_open, out)
        return STILL_OPEN if still_open else 0


class _Choice(NamedTuple):
    """A record of the ledger, and where its raw bytes are."""

    batch_id: UUID
    item: int
    position: RecordPosition

    @classmethod
    def of(cls, row: asyncpg.Record) -> "_Choice":
        position = RecordPosition(row["raw_topic"], row["raw_partition"], row["raw_offset"])
        return cls(row["batch_id"], row["item"], position)


async def send_again(settings: ToolSettings, chosen: Sequence[_Choice], out: TextIO) -> list[Sent]:
    """Those whose raw bytes Kafka still has, in their order; says how many are gone."""
    sent: list[Sent] = []
    async with AsyncExitStack() as stack:
        archive = await stack.enter_async_context(Archive.open(settings.kafka))
        publisher = await stack.enter_async_context(Publisher.open(settings.kafka, SystemClock()))
        registry_position = await archive.registry_position()
        for choice in track(chosen, "sending", console=Console(file=out), disable=not out.isatty()):
            headers, found = await _read(archive, choice)
            if headers is None or found is None:
                continue
            again = replayed(headers, choice.position, registry_position)
            await publish(publisher, KafkaRecord(RAW, found.key, found.value, encode_headers(again)))
            sent.append(Sent(again.batch_id, instant_of(again.received_at_ms)))
    out.write(f"{len(sent)} records sent, {len(chosen) - len(sent)} no longer in {RAW}\n")
    return sent


async def _read(archive: Archive, choice: _Choice) -> tuple[RecordHeaders | None, ConsumerRecord | None]:
    """None for what is gone, or is another record: then the topic was recreated."""
    found = await archive.read(choice.position)
    if found is None:
        return None, None
    try:
        headers = decode_headers(list(found.headers))
    except MalformedHeadersError:
        return None, None
    return (headers, found) if (headers.batch_id, headers.item) == choice[:2] else (None, None)


async def publish(publisher: Publisher, record: KafkaRecord) -> None:
    """Until it is acknowledged."""
    failures = 0
    while True:
        try:
            await publisher.publish([record])
        except PublishUnavailableError:
            await asyncio.sleep(backoff_seconds(failures))
            failures += 1
        else:
            return


async def _wait(pool: asyncpg.Pool, sent: Sequence[Sent], seconds: float) -> int:
    """How many have no result in the ledger after the time."""
    ids, times = [one.batch_id for one in sent], [one.received_at for one in sent]
    give_up_at = asyncio.get_running_loop().time() + seconds
    while True:
        still_open = int(await pool.fetchval(sql.records_not_yet_stored, ids, [0] * len(ids), times))
        if not still_open or asyncio.get_running_loop().time() >= give_up_at:
            return still_open
        await asyncio.sleep(0.2)


async def _report(pool: asyncpg.Pool, sent: Sequence[Sent], still_open: int, out: TextIO) -> None:
    counts = await pool.fetchrow(sql.replayed_counts, [one.batch_id for one in sent])
    figures = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()) if counts else ""
    out.write(f"{len(sent) - still_open} validated again: {figures}\n")
    if still_open:
        out.write(f"{still_open} are not stored yet; ask again later, it is safe\n")


def _describe(chosen: Iterable[asyncpg.Record], out: TextIO) -> None:
    rows = list(chosen)
    refused, not_taken = sum(row["refused"] for row in rows), sum(row["not_taken"] for row in rows)
    out.write(f"{len(rows)} records with {refused} refused and {not_taken} not taken values\n")


def instant(text: str) -> datetime:
    """As ISO 8601 has it, with a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} names no zone: write 2026-03-10T12:00Z")
    return moment
