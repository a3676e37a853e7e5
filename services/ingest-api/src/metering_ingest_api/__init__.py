"""ingest-api: authenticates gateways and enqueues their raw batches to Kafka."""
