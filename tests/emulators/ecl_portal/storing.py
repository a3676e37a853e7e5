"""What follows behind the poller: validator and writer as processes of their own, and what they leave in SQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from validator_support.live import Replicas

from metering_common.service.settings import KafkaSettings
from metering_local.postgres import PostgresServer
from metering_local.testing import FreshDatabase, make_database
from metering_writer.settings import WriterSettings
from metering_writer.testing_flavours import KEEP_EVERYTHING, migrate
from metering_writer.testing_processes import writer_processes
from tests.emulators.ecl_portal.station import Key

STORED_SECONDS = 600


class Storing:
    """The storage database as the records reach it."""

    def __init__(self, database: FreshDatabase) -> None:
        self._database = database

    async def all_of(self, records: int) -> dict[Key, float]:
        """The rows once this many records have been validated and stored, under the keys that the emulator uses."""
        async with asyncio.timeout(STORED_SECONDS):
            while int(self._database.sql("SELECT count(*) FROM ingest_batch;")) < records:  # noqa: ASYNC110  in SQL
                await asyncio.sleep(0.2)
        query = "SELECT device_id, sensor_name, extract(epoch FROM time)::bigint, value FROM measurement_named;"
        rows = [line.split("|") for line in self._database.sql(query).splitlines()]
        found = {(int(device), sensor, int(at)): float(value) for device, sensor, at, value in rows}
        assert len(found) == len(rows)
        return found

    def count(self, condition: str) -> int:
        """How many rows of `measurement` meet a condition in SQL."""
        return int(self._database.sql(f"SELECT count(*) FROM measurement WHERE {condition};"))

    def counted(self) -> dict[str, int]:
        """Sums over the ledger: what became of every value."""
        counts = ["refused", "not_taken", "corrected", "superseded"]
        sums = self._database.sql(f"SELECT {', '.join(f'sum({name})' for name in counts)} FROM ingest_batch;")
        return dict(zip(counts, map(int, sums.strip().split("|")), strict=True))

    def holes(self, device: int, since_ms: int, until_ms: int) -> list[tuple[int, int]]:
        """Returns what `measurement_gap` reports of a device, in Unix milliseconds."""
        span = ", ".join(f"to_timestamp({at} / 1000.0)" for at in (since_ms, until_ms))
        columns = "extract(epoch FROM gap_from) * 1000, extract(epoch FROM gap_to) * 1000"
        reported = self._database.sql(f"SELECT {columns} FROM measurement_gap({device}, {span}) ORDER BY 1;")
        return [
            (int(float(begin)), int(float(end))) for begin, end in (line.split("|") for line in reported.splitlines())
        ]


@asynccontextmanager
async def storing(kafka: KafkaSettings, server: PostgresServer, folder: Path) -> AsyncIterator[Storing]:
    """A validator and a writer with a database from here on; all are gone after the block."""
    database = make_database(server)
    migrate(database.owner_dsn)
    database.sql(KEEP_EVERYTHING)
    validators = Replicas(kafka, folder)
    settings = WriterSettings(
        database_url=database.dsn_for("storage_writer"), admin_host="127.0.0.1", admin_port=0, kafka=kafka
    )
    with writer_processes(settings, folder, 1) as (writer,):
        validators.start()
        writer.start()
        try:
            yield Storing(database)
        finally:
            validators.kill_all()
            writer.kill()
            server.sql(f"DROP DATABASE {database.name} WITH (FORCE);")
