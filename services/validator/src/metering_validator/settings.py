"""What the environment sets, `VALIDATOR_…`: the only reader of it in the validator."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from metering_common.contract.limits import DAY_SECONDS, MAX_MEASURES, MAX_SPAN_SECONDS, MAX_VALUES
from metering_common.service.settings import ServiceSettings
from metering_validator.domain.context import Limits, Window


class Settings(ServiceSettings):
    """See docs/rules.md for what the windows mean."""

    model_config = SettingsConfigDict(env_prefix="VALIDATOR_")

    group_id: str = Field("validator", description="the consumer group that the replicas share")
    group_instance_id: str | None = Field(
        None, description="static membership: the same name after a restart keeps the same partitions"
    )
    session_timeout_seconds: float = Field(
        45, ge=6, le=80, description="how long Kafka waits for a heartbeat before it gives the partitions away"
    )
    commit_interval_seconds: float = Field(1, gt=0, description="how often finished offsets are committed")
    batch_records: int = Field(500, ge=1, le=5_000, description="records validated and acknowledged together, at most")
    batch_bytes: int = Field(
        8 * 1024 * 1024, ge=1, description="the same in bytes of their values: the record that reaches it is the last"
    )
    batch_wait_seconds: float = Field(0.05, gt=0, le=10, description="how long a batch waits to be filled")
    future_window_seconds: int = Field(900, ge=0, description="how far a timestamp may lie after received-at")
    http_past_window_days: int = Field(400, ge=1, description="how far it may lie before, for what gateways send")
    ecl_past_window_days: int = Field(400, ge=1, description="the same for what comes from the ECL portal")
    max_measures: int = Field(
        MAX_MEASURES, ge=1, description="measures that are validated of one record; the rest is refused"
    )
    max_values: int = Field(
        MAX_VALUES, ge=1, description="values that are validated of one record; measures beyond are counted and refused"
    )
    max_span_seconds: int = Field(
        MAX_SPAN_SECONDS, ge=1, description="how far the measures of one record may lie apart"
    )

    @property
    def limits(self) -> Limits:
        """As the rules take them."""
        return Limits(
            http=Window(self.future_window_seconds, self.http_past_window_days * DAY_SECONDS),
            ecl=Window(self.future_window_seconds, self.ecl_past_window_days * DAY_SECONDS),
            max_measures=self.max_measures,
            max_values=self.max_values,
            max_span_seconds=self.max_span_seconds,
        )
