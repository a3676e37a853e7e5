"""Every metric of auth, with its help text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metering_common.service.metrics import LATENCY_BUCKETS

LANES = ("0", "1")
PUBLISH_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)  # seconds


class IdentityMetrics:
    """Tokens and keys; one object per process."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.refreshes = Counter(
            "metering_auth_refreshes", "Refresh attempts by what became of them.", ["outcome"], registry=collectors
        )
        self.reuses = Counter(
            "metering_auth_token_reuses",
            "Superseded refresh tokens presented after the grace: a family was revoked, look into the audit.",
            registry=collectors,
        )
        self.unknown_well_signed = Counter(
            "metering_auth_unknown_well_signed_tokens",
            "Well-signed refresh tokens that the database does not know: a restored backup, or a stolen key.",
            registry=collectors,
        )
        self.request_seconds = Histogram(
            "metering_auth_request_seconds",
            "Time from a request's headers to its answer.",
            ["path", "status"],
            buckets=LATENCY_BUCKETS,
            registry=collectors,
        )
        self.key_age_seconds = Gauge(
            "metering_auth_signing_key_age_seconds", "Seconds since the active key began to sign.", registry=collectors
        )
        self.key_lifetime_seconds = Gauge(
            "metering_auth_signing_key_lifetime_seconds",
            "For how long a key signs by the settings, its successor's publication included.",
            registry=collectors,
        )
        self.keys = Gauge("metering_auth_signing_keys", "Signing keys by state.", ["state"], registry=collectors)


class RegistryMetrics:
    """The way of the registry to its topic; one object per process."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.publish_delay_seconds = Histogram(
            "metering_auth_registry_publish_delay_seconds",
            "Time from a registry change's outbox row to its commit on the topic; lane 0 carries revocations.",
            ["lane"],
            buckets=PUBLISH_BUCKETS,
            registry=collectors,
        )
        self.published = Counter(
            "metering_auth_registry_published_documents",
            "Registry documents and tombstones published.",
            ["lane"],
            registry=collectors,
        )
        self.outbox_entries = Gauge(
            "metering_auth_registry_outbox_entries",
            "Registry changes that wait to be published.",
            ["lane"],
            registry=collectors,
        )
        self.outbox_oldest_seconds = Gauge(
            "metering_auth_registry_outbox_oldest_seconds",
            "Age of the oldest registry change that waits: above 10 nobody relays.",
            ["lane"],
            registry=collectors,
        )
        self.relaying = Gauge(
            "metering_auth_registry_relaying", "1 while this process holds the relay's lease.", registry=collectors
        )
        self.relay_failures = Counter(
            "metering_auth_registry_relay_failures",
            "Turns of the relay that failed and were tried again, by the error's class.",
            ["error"],
            registry=collectors,
        )
        for lane in LANES:
            self.publish_delay_seconds.labels(lane)
            self.published.labels(lane)
        self.repaired = Counter(
            "metering_auth_registry_repaired_documents",
            "Documents in which topic and tables differed at a comparison: they are published again.",
            registry=collectors,
        )
