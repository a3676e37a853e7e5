"""`metering-writer dead`: looks at the dead letters, and sends one on its way again."""

import argparse
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

import msgspec
from aiokafka import ConsumerRecord

from metering_common.contract.codec import decode_validated
from metering_common.contract.metadata import (
    DeadLetterNote,
    KafkaHeaders,
    MalformedHeadersError,
    RecordPosition,
    decode_dead_letter_headers,
    decode_headers,
    encode_headers,
)
from metering_common.contract.topics import DEAD, RAW, VALIDATED
from metering_common.kafka.publisher import Publisher
from metering_common.kafka.publisher import Record as KafkaRecord
from metering_common.service.clock import SystemClock
from metering_writer.adapters.archive import Archive
from metering_writer.commands.replay import publish
from metering_writer.domain.replaying import replayed
from metering_writer.settings import ToolSettings

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  argparse has no other name for it

ERROR_LETTERS = 100  # shown of an error in a list
NOT_FOUND = 1  # exit status
NOT_REPLAYABLE = 4  # exit status


def add_to(commands: "Commands") -> None:
    """`dead list`, `dead show` and `dead replay`."""
    parser = commands.add_parser("dead", help="records that no code could read or store")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="letter, source, service, time, error").set_defaults(handle=show_all)
    for name, handle, text in (
        ("show", show, "headers and bytes of one letter"),
        ("replay", replay, "validate it again, by the release that runs now (a dry run without --apply)"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("letter", help="PARTITION/OFFSET as `dead list` names it")
        action.set_defaults(handle=handle)
        if name == "replay":
            action.add_argument("--apply", action="store_true", help="do it")


async def show_all(settings: ToolSettings, _asked: argparse.Namespace, out: TextIO) -> int:
    async with Archive.open(settings.kafka) as archive:
        async for letter in archive.read_all(DEAD):
            _, note = decode_dead_letter_headers(list(letter.headers))
            error = note.error.replace("\n", " ")[:ERROR_LETTERS]
            out.write(f"{letter.partition}/{letter.offset} {note.source} {note.service} {_time(note)} {error}\n")
    return 0


async def show(settings: ToolSettings, asked: argparse.Namespace, out: TextIO) -> int:
    async with Archive.open(settings.kafka) as archive:
        letter = await archive.read(_position(asked.letter))
    if letter is None:
        out.write(f"there is no dead letter {asked.letter}\n")
        return NOT_FOUND
    out.writelines(f"{name}: {value.decode('utf-8', 'backslashreplace')}\n" for name, value in letter.headers)
    out.write(f"\n{(letter.value or b'').decode('utf-8', 'backslashreplace')}\n")
    return 0


async def replay(settings: ToolSettings, asked: argparse.Namespace, out: TextIO) -> int:
    """Through the raw topic, where the validator reads it; its ledger row then points to the new result."""
    async with Archive.open(settings.kafka) as archive:
        letter = await archive.read(_position(asked.letter))
        if letter is None:
            out.write(f"there is no dead letter {asked.letter}\n")
            return NOT_FOUND
        again = await _again(archive, letter)
    if again is None:
        out.write("it cannot be replayed: neither itself nor the raw record behind it can be found and named\n")
        return NOT_REPLAYABLE
    if not asked.apply:
        out.write(f"dry run: would be sent to {RAW}; add --apply\n")
        return 0
    async with AsyncExitStack() as stack:
        await publish(await stack.enter_async_context(Publisher.open(settings.kafka, SystemClock())), again)
    out.write(f"sent to {RAW}\n")
    return 0


async def _again(archive: Archive, letter: ConsumerRecord) -> KafkaRecord | None:
    """A dead raw record goes again as it is; for a dead validated one, the raw record that it was made of."""
    original, note = decode_dead_letter_headers(list(letter.headers))
    if note.source.topic == RAW:
        return await _with_headers(archive, original, note.source, letter)
    position = _raw_position(letter) if note.source.topic == VALIDATED else None
    found = await archive.read(position) if position else None
    return await _with_headers(archive, list(found.headers), position, found) if found and position else None


async def _with_headers(
    archive: Archive, original: KafkaHeaders, replays: RecordPosition, record: ConsumerRecord
) -> KafkaRecord | None:
    try:
        headers = decode_headers(original)
    except MalformedHeadersError:
        return None
    again = replayed(headers, replays, await archive.registry_position())
    return KafkaRecord(RAW, record.key, record.value, encode_headers(again))


def _raw_position(letter: ConsumerRecord) -> RecordPosition | None:
    try:
        return decode_validated(letter.value or b"").raw
    except (msgspec.DecodeError, RecursionError):
        return None


def _position(letter: str) -> RecordPosition:
    return RecordPosition.parse(f"{DEAD}/{letter}")


def _time(note: DeadLetterNote) -> str:
    return datetime.fromtimestamp(note.died_at_ms / 1_000, UTC).isoformat(timespec="seconds")
