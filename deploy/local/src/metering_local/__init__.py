"""The whole platform on one machine: Kafka, PostgreSQL, load balancer and services, without Docker or root."""
