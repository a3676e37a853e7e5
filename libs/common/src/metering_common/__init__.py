"""What every service of the metering platform shares: messages, Kafka and PostgreSQL edges, telemetry."""
