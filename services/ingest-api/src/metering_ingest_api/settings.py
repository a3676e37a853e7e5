"""ingest-api's environment, `INGEST_…`; Kafka's is `KAFKA_…`."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from metering_common.service.settings import ServiceSettings


class IngestSettings(ServiceSettings):
    """Everything that operations may turn; limits that the published API fixes are constants in the code."""

    model_config = SettingsConfigDict(env_prefix="INGEST_")

    http_host: str = Field("0.0.0.0", description="address of the public port")  # noqa: S104  the load balancer stands outside the pod
    http_port: int = Field(ge=0, le=65535, description="port of the published API; 0 takes a free one")
    max_body_bytes: int = Field(1_048_576, gt=0, description="largest JSON body, after inflating")
    max_wire_bytes: int = Field(524_288, gt=0, description="largest compressed body")
    max_in_flight_bytes: int = Field(64 * 1_048_576, gt=0, description="bytes of all requests in work; 503 beyond")
    max_in_flight_requests: int = Field(2_000, gt=1, description="requests in work; 503 beyond, 429 beyond a share")
    header_seconds: float = Field(10, gt=0, description="how long a request's head may take to arrive")
    body_seconds: float = Field(30, gt=0, description="how long a request's body may take at any pace")
    body_bytes_per_second: float = Field(250, gt=0, description="average pace of a body that takes longer; 408 below")
    body_max_seconds: float = Field(600, gt=0, description="how long a body may take at all")
    keepalive_seconds: float = Field(75, gt=0, description="idle connections are kept so long; above the balancer's")
    max_connections: int = Field(10_000, gt=0, description="connections held at once; further ones are closed at once")
    requests_per_second: float = Field(200, gt=0, description="per gateway and pod; 429 beyond")
    requests_burst: float = Field(2_000, ge=1, description="requests that gather while a gateway is quiet")
    bytes_per_second: float = Field(16 * 1_048_576, gt=0, description="bytes per gateway and pod; 429 beyond")
    bytes_burst: float = Field(64 * 1_048_576, ge=1, description="bytes that gather while a gateway is quiet")
    values_per_second: float = Field(50_000, gt=0, description="values per gateway and pod; 429 beyond")
    values_burst: float = Field(500_000, ge=1, description="values that gather while a gateway is quiet")
    unready_seconds: float = Field(
        3, ge=0, description="at a stop, time for the load balancer to see that this pod is no longer ready"
    )
