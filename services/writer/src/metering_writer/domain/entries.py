"""A validated entry as the writer has it: where it stands, what is about it, what is in it."""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from metering_common.contract.envelope import Envelope
from metering_common.contract.messages import Counts, Rows, Status, Validated
from metering_common.contract.metadata import EntryMetadata, EntryPosition


class UnstorableEntryError(Exception):
    """The entry contradicts itself: it goes to the dead letters."""


class ValidatedEntry(NamedTuple):
    """One entry of a validated envelope."""

    envelope: Envelope
    place: int
    """Its index in the envelope, and in the raw one."""
    metadata: EntryMetadata
    validated: Validated
    fault: str | None = None
    """Why it is dead: then `validated` says so too and has no rows."""

    @property
    def partition(self) -> int:
        return self.envelope.record.position.partition

    @property
    def offset(self) -> int:
        return self.envelope.record.position.offset

    @property
    def is_last(self) -> bool:
        """Of its envelope: with it the offset moves on."""
        return self.place + 1 == len(self.envelope.entries)

    @property
    def raw(self) -> EntryPosition:
        return self.envelope.raw_position(self.place)

    @property
    def identity(self) -> tuple[UUID, int]:
        return self.metadata.batch_id, self.metadata.item


def check(validated: Validated) -> None:
    """Raises `UnstorableEntryError`; the tables' ranges have been held when it was decoded."""
    counts = validated.counts
    if counts.values != counts.accepted + counts.refused + counts.not_taken + counts.repeated:
        raise UnstorableEntryError(f"its counts do not add up: {counts}")
    if sum([_count(rows) for rows in validated.rows]) != counts.accepted:
        raise UnstorableEntryError(f"it counts {counts.accepted} accepted values and brings another number")


def dead(envelope: Envelope, place: int, fault: str) -> ValidatedEntry:
    """What stands in the ledger for an entry that cannot be stored."""
    validated = Validated(status=Status.DEAD, counts=Counts(), error=fault)
    return ValidatedEntry(envelope, place, envelope.entries[place].metadata, validated, fault)


def first_of_each(entries: Iterable[ValidatedEntry]) -> list[ValidatedEntry]:
    """Without entries that came before under the same batch id and item: the first result wins."""
    seen: dict[tuple[UUID, int], ValidatedEntry] = {}
    for entry in entries:
        seen.setdefault(entry.identity, entry)
    return list(seen.values())


def _count(rows: Rows) -> int:
    """The number of values of a block whose columns fit together."""
    expected = len(rows.sensors) * len(rows.timestamps)
    if len(rows.values) != expected or len(rows.quality) not in (0, expected):
        raise UnstorableEntryError("a block's values do not fit its sensors and timestamps")
    return expected
