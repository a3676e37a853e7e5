-- The hourly facts as a plain view: the same name, columns and results as TimescaleDB's continuous aggregate.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

CREATE VIEW measurement_hourly_facts AS
SELECT
    date_bin('1 hour', ts, '2000-01-01 00:00:00+00') AS bucket,
    device_id,
    sensor_id,
    count(*) AS measures,
    sum(value) AS total,
    min(value) AS minimum,
    max(value) AS maximum,
    min(ts) AS first_at,
    max(ts) AS last_at,
    series_facts(value ORDER BY ts) AS facts
FROM measurement
WHERE quality <> 3
GROUP BY 1, 2, 3;
COMMENT ON VIEW measurement_hourly_facts IS 'Hours in UTC, without what a faulty sensor sent; read measurement_hourly';

-- migrate:down
DROP VIEW measurement_hourly_facts;
