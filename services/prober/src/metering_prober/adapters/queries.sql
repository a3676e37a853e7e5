-- name: stored_at
-- Whether the device has a value of the sensor at an instant.
SELECT EXISTS (
    SELECT FROM measurement
    WHERE device_id = $1 AND ts = to_timestamp($3) AND sensor_id = (SELECT id FROM sensor WHERE name = $2)
);

-- name: stored_since
-- The series as stored, from an instant on.
SELECT extract(epoch FROM ts)::bigint AS instant, value, quality
FROM measurement
WHERE device_id = $1 AND ts >= to_timestamp($3) AND sensor_id = (SELECT id FROM sensor WHERE name = $2);

-- name: unaccounted
-- Raw records without a ledger row between the first ($2) and last ($3) of those that surely have been overtaken.
-- $1 reaches further back, since records stand in their partition not quite in the order of their batch ids.
WITH recent AS (
    SELECT raw_partition, raw_offset, batch_id FROM ingest_batch
    WHERE raw_topic = 'measurements.raw.v1' AND (batch_id >= $1 OR batch_id < $4)
), bounds AS (
    SELECT raw_partition, min(raw_offset) AS first, max(raw_offset) AS last FROM recent
    WHERE batch_id >= $2 AND batch_id < $3 GROUP BY raw_partition
)
SELECT coalesce(sum(last - first + 1 - found), 0)::bigint
FROM bounds, LATERAL (
    SELECT count(DISTINCT raw_offset) AS found FROM recent
    WHERE recent.raw_partition = bounds.raw_partition AND raw_offset BETWEEN first AND last
) AS counted;

-- name: refusals
-- Values validated and refused per provider since a batch id, the busiest 500 providers.
SELECT provider_id::text AS provider, sum("values")::bigint AS validated, sum(refused)::bigint AS refused
FROM ingest_batch WHERE batch_id >= $1 GROUP BY 1 HAVING sum("values") > 0 ORDER BY 2 DESC LIMIT 500;

-- name: silence
-- Of the last week's gateways and of the active devices, how many have been heard of; $1 is a gateway's retry.
WITH heard AS (
    SELECT device.interval_seconds, latest.gateway_id, latest.received_at
    FROM device LEFT JOIN LATERAL (
        SELECT gateway_id, received_at FROM ingest_batch AS b
        WHERE b.device_id = device.id AND b.received_at > now() - INTERVAL '7 days'
        ORDER BY received_at DESC LIMIT 1
    ) AS latest ON true
    WHERE device.active AND device.deleted_at IS NULL
), gateways AS (
    SELECT gateway_id, max(received_at) < now() - $1::interval AS silent FROM heard
    WHERE gateway_id IS NOT NULL GROUP BY gateway_id
), devices AS (
    SELECT coalesce(received_at < now() - make_interval(secs => 3 * interval_seconds + 3600), true) AS silent
    FROM heard WHERE interval_seconds IS NOT NULL
)
SELECT
    (SELECT count(*) FILTER (WHERE silent) FROM gateways) AS gateways_silent,
    (SELECT count(*) FILTER (WHERE NOT silent) FROM gateways) AS gateways_sending,
    (SELECT count(*) FILTER (WHERE silent) FROM devices) AS devices_silent,
    (SELECT count(*) FILTER (WHERE NOT silent) FROM devices) AS devices_sending;

-- name: has_timescaledb
-- Whether there are background jobs to ask for.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb');

-- name: jobs
-- TimescaleDB's own jobs on our tables: columnstore, refresh, retention.
SELECT jobs.proc_name || ' ' || coalesce(jobs.hypertable_name, '') AS policy,
    stats.last_run_status = 'Failed' AS failed, extract(epoch FROM stats.last_successful_finish) AS succeeded_at
FROM timescaledb_information.jobs JOIN timescaledb_information.job_stats AS stats USING (job_id)
WHERE jobs.proc_name LIKE 'policy_%' AND jobs.hypertable_name IS NOT NULL;

-- name: sizes
-- The database and its growing tables, with indexes.
SELECT pg_database_size(current_database()) AS database, pg_total_relation_size('measurement') AS measurement,
    pg_total_relation_size('ingest_batch') AS ingest_batch,
    pg_total_relation_size('rejected_measure') AS rejected_measure;

-- name: sizes_timescale
-- As `sizes`, with the chunks of the hypertables.
SELECT pg_database_size(current_database()) AS database, hypertable_size('measurement') AS measurement,
    hypertable_size('ingest_batch') AS ingest_batch, hypertable_size('rejected_measure') AS rejected_measure;
