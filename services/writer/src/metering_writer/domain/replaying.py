"""What a replayed entry looks like: the same measures, the same received-at and rev, validated again."""

import hashlib

import msgspec

from metering_common.contract.batch_id import new_batch_id
from metering_common.contract.metadata import EntryMetadata, EntryPosition, RegistryVersion


def replayed(metadata: EntryMetadata, replays: EntryPosition, registry_position: int) -> EntryMetadata:
    """Returns the metadata of a replay.

    The batch id is new, but always the same for the same entry: replaying it twice stores one result. The validator
    is asked for the registry as it is now, in which the cause is mended.
    """
    digest = hashlib.sha256(f"{metadata.batch_id}/{metadata.item}".encode()).digest()
    return msgspec.structs.replace(
        metadata,
        batch_id=new_batch_id(metadata.received_at_ms, lambda size: digest[:size]),
        item=0,
        items=1,
        source="replay",
        registry=RegistryVersion(metadata.registry.epoch, registry_position),
        replays=replays,
    )
