-- What analysts read: names instead of ids, hours, days, the state of each device, its gaps, the open refusals.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

CREATE VIEW measurement_named AS
SELECT
    provider.name AS provider,
    device.number AS device_number,
    sensor.name AS sensor_name,
    sensor.unit,
    m.ts AS time,
    m.value,
    m.quality,
    m.device_id,
    m.sensor_id
FROM measurement AS m
LEFT JOIN device ON device.id = m.device_id
LEFT JOIN provider ON provider.id = device.provider_id
LEFT JOIN sensor ON sensor.id = m.sensor_id;
COMMENT ON VIEW measurement_named IS 'Every value with names; quality 0 good, 1 implausible, 2 clock doubtful, 3 sensor fault';

CREATE FUNCTION exchange_increase(of_device integer, of_sensor smallint, since timestamptz, upto timestamptz,
    capacity double precision, exchanges timestamptz[]) RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT sum(counter_step(before, value, capacity, meter_exchanged(exchanges, before_at, ts)))
    FROM (
        SELECT value, ts, lag(value) OVER (ORDER BY ts) AS before, lag(ts) OVER (ORDER BY ts) AS before_at
        FROM measurement
        WHERE device_id = of_device AND sensor_id = of_sensor AND ts BETWEEN since AND upto AND quality <> 3
    ) AS reading
    WHERE before IS NOT NULL
$$;
COMMENT ON FUNCTION exchange_increase IS 'The increase within an hour in which the meter was exchanged, from its rows';

-- The names stand in the window's partition so that a filter on them reaches the rows below it.
CREATE VIEW measurement_hourly AS
WITH named AS (
    SELECT f.*, sensor.kind, sensor.rollover, device.meter_exchanges, coalesce(device.zone, 'UTC') AS zone,
        provider.name AS provider, device.number AS device_number, sensor.name AS sensor_name, sensor.unit
    FROM measurement_hourly_facts AS f
    LEFT JOIN device ON device.id = f.device_id
    LEFT JOIN provider ON provider.id = device.provider_id
    LEFT JOIN sensor ON sensor.id = f.sensor_id
), followed AS (
    SELECT *, lag(facts[2]) OVER hours AS value_before, lag(last_at) OVER hours AS at_before
    FROM named
    WINDOW hours AS (PARTITION BY device_id, sensor_id, provider, device_number, sensor_name, zone ORDER BY bucket)
)
SELECT
    bucket,
    provider,
    device_number,
    sensor_name,
    unit,
    total / measures AS mean,
    minimum,
    maximum,
    facts[1] AS first_value,
    first_at,
    facts[2] AS last_value,
    last_at,
    measures,
    CASE WHEN kind = 'accumulating' THEN
        CASE WHEN value_before IS NULL THEN 0
            ELSE counter_step(value_before, facts[1], rollover, meter_exchanged(meter_exchanges, at_before, first_at))
        END
        + CASE WHEN meter_exchanged(meter_exchanges, first_at, last_at)
            THEN coalesce(exchange_increase(device_id, sensor_id, first_at, last_at, rollover, meter_exchanges), facts[3])
            ELSE facts[3] + rollover_gain(facts, rollover)
        END
    END AS consumption,
    device_id,
    sensor_id,
    zone
FROM followed;
COMMENT ON VIEW measurement_hourly IS
    'Hours in UTC. consumption is what lies between the last value of the hour before that has one and this hour''s last';

CREATE VIEW measurement_daily AS
SELECT
    (bucket AT TIME ZONE zone)::date AS day,
    provider,
    device_number,
    sensor_name,
    unit,
    sum(mean * measures) / sum(measures) AS mean,
    min(minimum) AS minimum,
    max(maximum) AS maximum,
    (array_agg(first_value ORDER BY bucket))[1] AS first_value,
    min(first_at) AS first_at,
    (array_agg(last_value ORDER BY bucket DESC))[1] AS last_value,
    max(last_at) AS last_at,
    sum(measures)::bigint AS measures,
    sum(consumption) AS consumption,
    device_id,
    sensor_id,
    zone
FROM measurement_hourly
GROUP BY 1, provider, device_number, sensor_name, unit, device_id, sensor_id, zone;
COMMENT ON VIEW measurement_daily IS 'Days of the device''s own zone, 23 or 25 hours long where the clocks change';

CREATE FUNCTION completeness(of_device integer, interval_seconds integer, instant timestamptz, span interval)
    RETURNS double precision LANGUAGE sql STABLE AS $$
    WITH hours AS (
        SELECT bucket, max(measures) AS measures
        FROM measurement_hourly_facts
        WHERE device_id = of_device AND bucket >= date_trunc('hour', instant) - span
            AND bucket < date_trunc('hour', instant)
        GROUP BY bucket
    )
    SELECT CASE WHEN interval_seconds IS NULL THEN NULL
        WHEN interval_seconds <= 3600 THEN least(1,
            sum(least(measures, 3600.0 / interval_seconds)) * interval_seconds / extract(epoch FROM span))
        ELSE least(1, count(DISTINCT floor(extract(epoch FROM bucket) / interval_seconds)) * interval_seconds
            / extract(epoch FROM span))
    END::double precision
    FROM (SELECT bucket, measures FROM hours UNION ALL SELECT NULL, 0) AS counted
$$;
COMMENT ON FUNCTION completeness IS
    'Measures that came, of those expected in the whole hours of the span before the instant; no hour counts over its own';

CREATE FUNCTION device_status_at(instant timestamptz) RETURNS TABLE (
    device_id integer, provider text, device_number text, active boolean, last_measured_at timestamptz,
    last_received_at timestamptz, delay interval, interval_seconds integer, completeness_day double precision,
    completeness_week double precision, completeness_month double precision
) LANGUAGE sql STABLE AS $$
    SELECT device.id, provider.name, device.number, device.active, latest.ts, latest_batch.received_at,
        to_timestamp((latest.rev >> 20) / 1000.0) - latest.ts, device.interval_seconds,
        completeness(device.id, device.interval_seconds, instant, '1 day'),
        completeness(device.id, device.interval_seconds, instant, '7 days'),
        completeness(device.id, device.interval_seconds, instant, '30 days')
    FROM device
    LEFT JOIN provider ON provider.id = device.provider_id
    LEFT JOIN LATERAL (
        SELECT ts, rev FROM measurement AS m WHERE m.device_id = device.id AND ts <= instant + INTERVAL '15 minutes'
        ORDER BY ts DESC LIMIT 1
    ) AS latest ON true
    LEFT JOIN LATERAL (
        SELECT received_at FROM ingest_batch AS b WHERE b.device_id = device.id AND received_at <= instant AND status <> 'requalified'
        ORDER BY received_at DESC LIMIT 1
    ) AS latest_batch ON true
    WHERE device.deleted_at IS NULL
$$;
CREATE VIEW device_status AS SELECT * FROM device_status_at(now());
COMMENT ON VIEW device_status IS
    'Per device: last measure by its own time, last reception, how late that measure came, completeness 0 to 1';

CREATE FUNCTION measurement_gap(of_device integer, since timestamptz, upto timestamptz)
    RETURNS TABLE (gap_from timestamptz, gap_to timestamptz, missing bigint) LANGUAGE sql STABLE AS $$
    WITH expected AS (
        SELECT make_interval(secs => interval_seconds) AS step FROM device
        WHERE id = of_device AND interval_seconds IS NOT NULL
    ), present AS (
        SELECT since - step AS ts FROM expected
        UNION
        SELECT DISTINCT ts FROM measurement WHERE device_id = of_device AND ts >= since AND ts < upto
        UNION
        SELECT upto FROM expected
    ), pairs AS (
        SELECT ts, lead(ts) OVER (ORDER BY ts) AS next_ts FROM present
    )
    SELECT ts + step, next_ts, round(extract(epoch FROM next_ts - ts) / extract(epoch FROM step))::bigint - 1
    FROM pairs, expected
    WHERE next_ts - ts >= step * 1.5
    ORDER BY 1
$$;
COMMENT ON FUNCTION measurement_gap IS
    'Missing intervals of a device from (inclusive) to (exclusive), by its expected interval; none when that is unknown';

CREATE VIEW rejected_measure_open AS
SELECT provider.name AS provider, device.number AS device_number, r.sensor_name, r.rule, r.count, r.first_at, r.last_at,
    r.samples, r.received_at, r.batch_id, r.item, r.device_id, r.sensor_id
FROM rejected_measure AS r
LEFT JOIN device ON device.id = r.device_id
LEFT JOIN provider ON provider.id = r.provider_id
WHERE r.replayed_as IS NULL;
COMMENT ON VIEW rejected_measure_open IS 'Refusals that no replay has validated again yet';

GRANT SELECT ON measurement_named, measurement_hourly_facts, measurement_hourly, measurement_daily, device_status,
    rejected_measure_open TO storage_reader, storage_writer;

-- migrate:down
DROP VIEW rejected_measure_open;
DROP FUNCTION measurement_gap;
DROP VIEW device_status;
DROP FUNCTION device_status_at;
DROP FUNCTION completeness;
DROP VIEW measurement_daily, measurement_hourly;
DROP FUNCTION exchange_increase;
DROP VIEW measurement_named;
