"""The writer's SQL, by name: sql/queries.sql."""

from metering_common.postgres.queries import load_queries

sql = load_queries("metering_writer", "sql/queries.sql")
