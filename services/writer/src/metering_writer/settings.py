"""The writer's settings, `WRITER_…`: the only reader of the environment."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from metering_common.service.connections import DatabaseUrl
from metering_common.service.settings import KafkaSettings, ProcessSettings, ServiceSettings, SettingsGroup


class WriterSettings(ServiceSettings):
    """What the service needs."""

    model_config = SettingsConfigDict(env_prefix="WRITER_")

    database_url: DatabaseUrl = Field(description="postgresql://… of the storage database, as role storage_writer")
    group_instance_id: str | None = Field(
        None, description="static membership in the consumer group: a restart within the session moves no partition"
    )
    session_timeout_seconds: float = Field(
        30, gt=0, description="how long Kafka waits for a silent writer before it gives its partitions away"
    )
    batch_rows: int = Field(150_000, ge=1, description="values after which a batch is written")
    batch_records: int = Field(5_000, ge=1, description="records after which a batch is written")
    batch_bytes: int = Field(16 * 1024 * 1024, ge=1, description="bytes of records after which a batch is written")
    batch_seconds: float = Field(0.05, gt=0, description="time after its first record at which a batch is written")
    statement_timeout_seconds: float = Field(60, gt=0, description="after it the database gives a statement up")
    lock_wait_seconds: float = Field(
        5, gt=0, description="how long another session may hold a partition's offset before it is ended"
    )
    lease_seconds: float = Field(10, gt=0, description="how long the keeper of the dimension tables may be silent")
    allow_old_timescaledb: bool = Field(
        default=False,
        description="start on a TimescaleDB below 2.27, which loses or slows upserts into compressed chunks",
    )


class RegistersSettings(ProcessSettings):
    """What `metering-writer registers` needs."""

    model_config = SettingsConfigDict(env_prefix="REGISTERS_")

    database_url: DatabaseUrl = Field(description="postgresql://… of the storage database, as role storage_writer")
    batch_notes: int = Field(1_000, ge=1, description="notes of the writer taken in one transaction")
    pause_seconds: float = Field(0.5, gt=0, description="wait when there was no note")
    statement_timeout_seconds: float = Field(300, gt=0, description="after it the database gives a statement up")


class ToolSettings(SettingsGroup):
    """What the operator's commands need of the same environment."""

    model_config = SettingsConfigDict(env_prefix="WRITER_")

    database_url: DatabaseUrl = Field(description="postgresql://… of the storage database, as role storage_writer")
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
