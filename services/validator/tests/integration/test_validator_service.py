"""The validator as a process: what goes in on the raw topic comes out validated, told and committed."""

import json
from typing import Any
from uuid import UUID

from validator_support.builders import NOW, element, headers, measure
from validator_support.live import Replicas, Tap, committed_offsets, end_offsets, publish_registry

from metering_common.contract import codec, topics
from metering_common.contract.messages import Counts, Status
from metering_common.contract.metadata import decode_dead_letter_headers, decode_headers, encode_headers
from metering_common.kafka.publisher import Publisher, Record
from metering_common.service.settings import KafkaSettings


def raw(value: bytes | None, **header_changes: Any) -> Record:
    return Record(topics.RAW, b"29", value, encode_headers(headers(**header_changes)))


async def test_a_raw_record_becomes_one_validated_record_and_one_outcome(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, tap: Tap
) -> None:
    await publish_registry(publisher)
    value = element(measure(NOW, ("Corriente A", 1.5), ("Nadie", 2), ("Corriente C", 3)))
    await publisher.publish([raw(value)])
    replica = replicas.start()
    [validated] = await tap.until(topics.VALIDATED, 1)
    assert (validated.key, list(validated.headers)) == (b"29", encode_headers(headers()))
    result = codec.decode_validated(validated.value)
    assert result.counts == Counts(measures=1, values=3, accepted=1, refused=1, not_taken=1)
    assert (result.raw.topic, result.raw.offset) == (topics.RAW, 0)
    [outcome] = await tap.until(topics.OUTCOMES, 1)
    assert outcome.key == str(headers().batch_id).encode()
    assert codec.decode_outcome(outcome.value).rules == {"RV-03": 1}
    line = json.loads(await replica.logged("records.validated"))
    assert line["batch_ids"] == [str(headers().batch_id)]
    assert (line["accepted"], line["refused"], line["not_taken"]) == (1, 1, 1)
    replica.ask_to_stop()
    assert await replica.ended() == 0
    assert await committed_offsets(kafka) == {n: end for n, end in (await end_offsets(kafka)).items() if end}


async def test_a_poison_record_is_dead_has_its_outcome_and_blocks_nothing(
    replicas: Replicas, publisher: Publisher, tap: Tap
) -> None:
    await publish_registry(publisher)
    unreadable_headers = Record(topics.RAW, b"29", b"{}", [("schema-version", b"eins")])
    await publisher.publish([raw(b"no JSON"), raw(None), unreadable_headers, raw(element(measure(NOW)))])
    replicas.start()
    validated = await tap.until(topics.VALIDATED, 4)
    results = sorted(
        (codec.decode_validated(record.value) for record in validated), key=lambda result: result.raw.offset
    )
    assert [result.status for result in results] == [Status.DEAD, Status.DEAD, Status.DEAD, Status.VALIDATED]
    outcomes = await tap.until(topics.OUTCOMES, 4)
    assert sum(codec.decode_outcome(record.value).status is Status.DEAD for record in outcomes) == 3
    letters = await tap.until(topics.DEAD, 3)
    original, note = decode_dead_letter_headers(list(letters[0].headers))
    assert (letters[0].value, original, note.source) == (b"no JSON", encode_headers(headers()), results[0].raw)
    stand_in = decode_headers(next(list(record.headers) for record in validated if record.key == b"0"))
    assert (stand_in.batch_id.version, stand_in.device_id, stand_in.rev) == (8, 0, 0)
    assert isinstance(stand_in.batch_id, UUID)


async def test_a_newer_schema_version_ends_the_process_before_any_commit(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, tap: Tap
) -> None:
    await publish_registry(publisher)
    newer = [(name, b"2" if name == "schema-version" else text) for name, text in encode_headers(headers())]
    await publisher.publish([raw(element(measure(NOW))), Record(topics.RAW, b"29", b"{}", newer)])
    replica = replicas.start(VALIDATOR_BATCH_WAIT_SECONDS="1")
    assert await replica.ended() == 70
    assert "schema version 2 is unknown" in await replica.logged("records.cannot_go_on")
    assert await committed_offsets(kafka) == {}
    assert tap.records[topics.DEAD] == []


async def test_a_topic_full_of_poison_stops_the_process_instead_of_emptying_it_into_the_dead_letters(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, tap: Tap
) -> None:
    await publish_registry(publisher)
    await publisher.publish([raw(b"no JSON")] * 300)
    replica = replicas.start(VALIDATOR_BATCH_WAIT_SECONDS="1")
    assert await replica.ended() == 70
    assert "over 1 % of the last minute's records are unreadable" in await replica.logged("records.cannot_go_on")
    assert len(tap.records[topics.DEAD]) < 100
    assert sum((await committed_offsets(kafka)).values()) < 100
