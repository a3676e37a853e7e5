"""What a batch's corrections replaced goes into `measurement_correction`, beside the rows that replaced it."""

from collections.abc import Sequence

from metering_writer.adapters.measurement_rows import copy_binary
from metering_writer.adapters.session import Session
from metering_writer.domain.corrections import CORRECTION_COLUMNS, Corrections, copy_corrections
from metering_writer.domain.records import Record


async def write_corrections(session: Session, corrections: Corrections | None, records: Sequence[Record]) -> None:
    """Within the caller's transaction; most batches have none."""
    if corrections is not None and len(corrections.ts):
        rows = [copy_corrections(corrections, records)]
        await copy_binary(session, "measurement_correction", rows, CORRECTION_COLUMNS)
