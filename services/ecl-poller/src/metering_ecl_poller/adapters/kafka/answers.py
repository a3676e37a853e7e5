"""An answer of the portal as a record of `ecl.answers.v1`, there and back: what `remap` reads again."""

from metering_common.contract.metadata import KafkaHeaders, check_schema_version
from metering_common.contract.topics import ECL_ANSWERS
from metering_common.kafka.publisher import Record
from metering_ecl_poller.domain.portal.answer import ArchivedAnswer, PortalAnswer

SCHEMA_VERSION = 1


def to_record(answer: PortalAnswer, mapping_version: int) -> Record:
    """Keyed by controller, so that one controller's answers stay in order; the body is the value, untouched."""
    texts: dict[str, object] = {
        "schema-version": SCHEMA_VERSION,
        "controller": answer.serial,
        "call": answer.call,
        "device": answer.device,
        "read-id": answer.read_id,
        "http-status": answer.http_status,
        "received-at-ms": answer.received_at_ms,
        "client-request-id": answer.client_request_id,
        "server-request-id": answer.server_request_id,
        "mapping-version": mapping_version,
    }
    headers = [(name, str(value).encode()) for name, value in texts.items() if value is not None]
    return Record(ECL_ANSWERS, answer.serial.encode(), answer.body, headers)


def from_record(headers: KafkaHeaders, value: bytes) -> ArchivedAnswer:
    """The inverse. Raises `UnknownSchemaVersionError`, `MalformedHeadersError`, KeyError or ValueError."""
    texts = {name: text.decode() for name, text in headers}
    check_schema_version(texts.get("schema-version"))
    call = texts["call"]
    answer = PortalAnswer(
        serial=texts["controller"],
        call="masterData" if call == "masterData" else "readings",
        device=texts.get("device"),
        read_id=texts.get("read-id"),
        http_status=int(texts["http-status"]),
        body=value,
        received_at_ms=int(texts["received-at-ms"]),
        client_request_id=texts["client-request-id"],
        server_request_id=texts.get("server-request-id"),
    )
    return ArchivedAnswer(answer, int(texts["mapping-version"]))
