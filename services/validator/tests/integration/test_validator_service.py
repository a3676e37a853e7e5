"""The validator as a process: what goes in on the raw topic comes out validated, told and committed."""

import json
from typing import Any

from aiokafka import ConsumerRecord
from validator_support.builders import NOW, RECEIVED_AT_MS, element, measure, metadata, packed
from validator_support.live import Replicas, Tap, committed_offsets, end_offsets, publish_registry

from metering_common.contract import topics
from metering_common.contract.dead_letters import METADATA, decode_dead_letter_headers
from metering_common.contract.envelope import ConsumedRecord, Envelope, PackedEntry, read_envelope
from metering_common.contract.messages import Counts, Status, Validated, decode_validated
from metering_common.contract.metadata import RecordPosition
from metering_common.contract.outcomes import all_outcomes
from metering_common.kafka.envelopes import raw_record
from metering_common.kafka.publisher import Publisher, Record
from metering_common.service.settings import KafkaSettings


def raw(*entries: PackedEntry) -> Record:
    return raw_record(entries, RECEIVED_AT_MS, partition=0)


def opened(record: ConsumerRecord) -> Envelope:
    at = RecordPosition(record.topic, record.partition, record.offset)
    return read_envelope(ConsumedRecord(at, record.timestamp, record.key, record.value, list(record.headers)))


def results(*records: ConsumerRecord) -> list[Validated]:
    """By the place of the raw envelopes."""
    envelopes = sorted(map(opened, records), key=lambda envelope: envelope.raw.offset)
    return [decode_validated(entry.packed.value) for envelope in envelopes for entry in envelope.entries]


async def test_a_raw_envelope_becomes_a_validated_one_and_an_outcome(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, tap: Tap
) -> None:
    await publish_registry(publisher)
    value = element(measure(NOW, ("Corriente A", 1.5), ("Nadie", 2), ("Corriente C", 3)))
    sent: dict[str, Any] = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    await publisher.publish([raw(packed(value, **sent))])
    replica = replicas.start()
    [validated] = await tap.until(topics.VALIDATED, 1)
    envelope = opened(validated)
    assert [entry.metadata for entry in envelope.entries] == [metadata(**sent)]
    assert str(envelope.raw_position(0)) == f"{topics.RAW}/0/0/0"
    [result] = results(validated)
    assert result.counts == Counts(measures=1, values=3, accepted=1, refused=1, not_taken=1)
    [outcomes] = await tap.until(topics.OUTCOMES, 1)
    [outcome] = all_outcomes(outcomes.value)
    assert (outcome.batch_id, outcome.rules) == (metadata().batch_id, {"RV-03": 1})
    line = json.loads(await replica.logged("entries.validated"))
    assert line["batch_ids"] == [str(metadata().batch_id)]
    assert (line["envelopes"], line["accepted"], line["refused"], line["not_taken"]) == (1, 1, 1, 1)
    replica.ask_to_stop()
    assert await replica.ended() == 0
    assert await committed_offsets(kafka) == {n: end for n, end in (await end_offsets(kafka)).items() if end}


async def test_poison_is_dead_has_its_outcome_and_blocks_nothing(
    replicas: Replicas, publisher: Publisher, tap: Tap
) -> None:
    await publish_registry(publisher)
    unreadable = Record(topics.RAW, None, b"{}", [("schema-version", b"eins"), ("entries", b"5")], 0)
    good = element(measure(NOW))
    await publisher.publish([raw(packed(b"no JSON"), packed(good, item=1)), unreadable, raw(packed(good, item=2))])
    replicas.start()
    records = await tap.until(topics.VALIDATED, 3)
    statuses = [result.status for result in results(*records)]
    assert statuses == [Status.DEAD, Status.VALIDATED, Status.DEAD, Status.VALIDATED]
    letters = await tap.until(topics.DEAD, 2)
    of_entry, of_frame = sorted(letters, key=lambda letter: len(letter.value), reverse=True)
    original, note = decode_dead_letter_headers(list(of_entry.headers))
    assert (of_entry.value, dict(original)[METADATA]) == (b"no JSON", packed(b"").metadata)
    assert str(note.position) == f"{topics.RAW}/0/0/0"
    assert (of_frame.value, decode_dead_letter_headers(list(of_frame.headers))[0]) == (b"{}", unreadable.headers)
    stand_in = next(entry.metadata for one in map(opened, records) for entry in one.entries if entry.metadata.rev == 0)
    assert (stand_in.batch_id.version, stand_in.device_id, stand_in.stands_for) == (8, 0, 5)


async def test_a_newer_schema_version_ends_the_process_before_any_commit(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, tap: Tap
) -> None:
    await publish_registry(publisher)
    good = raw(packed(element(measure(NOW))))
    newer = [(name, b"2" if name == "schema-version" else text) for name, text in good.headers]
    await publisher.publish([good, good._replace(headers=newer)])
    replica = replicas.start(VALIDATOR_BATCH_WAIT_SECONDS="1")
    assert await replica.ended() == 70
    assert "schema version 2 is unknown" in await replica.logged("records.cannot_go_on")
    assert await committed_offsets(kafka) == {}
    assert tap.records[topics.DEAD] == []


async def test_a_topic_full_of_poison_stops_the_process_instead_of_emptying_it_into_the_dead_letters(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, tap: Tap
) -> None:
    await publish_registry(publisher)
    await publisher.publish([raw(*[packed(b"no JSON")] * 3)] * 100)
    replica = replicas.start(VALIDATOR_BATCH_WAIT_SECONDS="1")
    assert await replica.ended() == 70
    assert "of the last minute's" in await replica.logged("records.cannot_go_on")
    assert len(tap.records[topics.DEAD]) < 100
    assert sum((await committed_offsets(kafka)).values()) < 100
