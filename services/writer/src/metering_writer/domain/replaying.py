"""What a replayed record looks like: the same measures, the same received-at and rev, validated again."""

import hashlib

import msgspec

from metering_common.contract.batch_id import new_batch_id
from metering_common.contract.metadata import RecordHeaders, RecordPosition, RegistryVersion


def replayed(headers: RecordHeaders, replays: RecordPosition, registry_position: int) -> RecordHeaders:
    """The headers of a replay.

    The batch id is new, but always the same for the same record: replaying it twice stores one result. The validator
    is asked for the registry as it is now, in which the cause is mended.
    """
    digest = hashlib.sha256(f"{headers.batch_id}/{headers.item}".encode()).digest()
    return msgspec.structs.replace(
        headers,
        batch_id=new_batch_id(headers.received_at_ms, lambda size: digest[:size]),
        item=0,
        items=1,
        source="replay",
        registry=RegistryVersion(headers.registry.epoch, registry_position),
        replays=replays,
    )
