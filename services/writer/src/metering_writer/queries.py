"""The writer's SQL, by name: sql/queries.sql, and sql/registers.sql for what keeps the registers."""

from metering_common.postgres.queries import load_queries

sql = load_queries("metering_writer", "sql/queries.sql")
register_sql = load_queries("metering_writer", "sql/registers.sql")
