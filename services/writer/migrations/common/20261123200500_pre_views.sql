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

-- Time is cut into the device's intervals, from 1970 on; each ends with its edge. One rule for gaps and completeness:
-- the intervals that end after the first instant and not after the second, each with a reading in it or without.
CREATE FUNCTION intervals_filled(of_device integer, interval_seconds integer, since timestamptz, upto timestamptz)
    RETURNS TABLE (number bigint) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT ceil(extract(epoch FROM m.ts) / interval_seconds)::bigint
    FROM measurement AS m
    WHERE m.device_id = of_device AND m.quality <> 3
        AND m.ts > to_timestamp(floor(extract(epoch FROM since) / interval_seconds)::bigint * interval_seconds)
        AND m.ts <= to_timestamp(floor(extract(epoch FROM upto) / interval_seconds)::bigint * interval_seconds)
$$;
COMMENT ON FUNCTION intervals_filled IS 'The intervals that have a reading; number n ends n intervals after 1970 began';

CREATE FUNCTION intervals_ended(interval_seconds integer, since timestamptz, upto timestamptz)
    RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT floor(extract(epoch FROM upto) / interval_seconds)::bigint
        - floor(extract(epoch FROM since) / interval_seconds)::bigint
$$;
COMMENT ON FUNCTION intervals_ended IS 'How many intervals end after the first instant and not after the second';

CREATE FUNCTION completeness(of_device integer, interval_seconds integer, since timestamptz, upto timestamptz)
    RETURNS double precision LANGUAGE sql STABLE AS $$
    SELECT (SELECT count(*) FROM intervals_filled(of_device, interval_seconds, since, upto))::double precision
        / nullif(intervals_ended(interval_seconds, since, upto), 0)
$$;
COMMENT ON FUNCTION completeness IS
    'The share of the intervals ending after the first instant and not after the second that have a reading';

CREATE FUNCTION measurement_gap(of_device integer, since timestamptz, upto timestamptz)
    RETURNS TABLE (gap_from timestamptz, gap_to timestamptz, missing bigint) LANGUAGE sql STABLE AS $$
    WITH expected AS (
        SELECT device.interval_seconds AS seconds,
            floor(extract(epoch FROM since) / device.interval_seconds)::bigint AS first,
            floor(extract(epoch FROM upto) / device.interval_seconds)::bigint AS last
        FROM device WHERE device.id = of_device AND device.interval_seconds IS NOT NULL
    ), filled AS (
        SELECT first AS number FROM expected
        UNION
        SELECT one.number FROM expected, intervals_filled(of_device, seconds, since, upto) AS one
        UNION
        SELECT last + 1 FROM expected
    ), pairs AS (
        SELECT number, lead(number) OVER (ORDER BY number) AS next FROM filled
    )
    SELECT to_timestamp(number * seconds), to_timestamp((next - 1) * seconds), next - number - 1
    FROM pairs, expected
    WHERE next > number + 1
    ORDER BY 1
$$;
COMMENT ON FUNCTION measurement_gap IS
    'Intervals without a reading that end after the first instant and not after the second; none where no interval is known';

CREATE FUNCTION device_status_at(instant timestamptz) RETURNS TABLE (
    device_id integer, provider text, device_number text, active boolean, last_measured_at timestamptz,
    last_received_at timestamptz, delay interval, interval_seconds integer, completeness_day double precision,
    completeness_week double precision, completeness_month double precision, completeness_at timestamptz
) LANGUAGE sql STABLE AS $$
    SELECT device.id, provider.name, device.number, device.active, latest.ts, latest_batch.received_at,
        to_timestamp((latest.rev >> 20) / 1000.0) - latest.ts, device.interval_seconds,
        completeness(device.id, device.interval_seconds, whole.hour - INTERVAL '1 day', whole.hour),
        completeness(device.id, device.interval_seconds, whole.hour - INTERVAL '7 days', whole.hour),
        completeness(device.id, device.interval_seconds, whole.hour - INTERVAL '30 days', whole.hour),
        whole.hour
    FROM device
    CROSS JOIN (SELECT date_trunc('hour', instant) AS hour) AS whole
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
COMMENT ON FUNCTION device_status_at IS 'device_status as of another moment, worked out from the readings: for a few devices';

CREATE VIEW device_status AS
SELECT device.id AS device_id, provider.name AS provider, device.number AS device_number, device.active,
    latest.ts AS last_measured_at, activity.last_received_at, to_timestamp((latest.rev >> 20) / 1000.0) - latest.ts AS delay,
    device.interval_seconds, activity.completeness_day, activity.completeness_week, activity.completeness_month,
    activity.completeness_at
FROM device
LEFT JOIN provider ON provider.id = device.provider_id
LEFT JOIN device_activity AS activity ON activity.device_id = device.id
LEFT JOIN LATERAL (
    SELECT ts, rev FROM measurement AS m
    WHERE m.device_id = device.id AND m.ts <= least(activity.last_at, now() + INTERVAL '15 minutes')
    ORDER BY ts DESC LIMIT 1
) AS latest ON true
WHERE device.deleted_at IS NULL;
COMMENT ON VIEW device_status IS
    'Per device: last measure by its own time, last reception, how late that measure came, completeness 0 to 1 up to completeness_at';

CREATE VIEW rejected_measure_open AS
SELECT provider.name AS provider, device.number AS device_number, r.sensor_name, r.rule, r.count, r.first_at, r.last_at,
    r.samples, r.received_at, r.batch_id, r.item, r.device_id, r.sensor_id
FROM rejected_measure AS r
LEFT JOIN device ON device.id = r.device_id
LEFT JOIN provider ON provider.id = r.provider_id
WHERE r.replayed_as IS NULL;
COMMENT ON VIEW rejected_measure_open IS 'Refusals that no replay has validated again yet';

GRANT SELECT ON measurement_named, device_status, rejected_measure_open TO storage_reader, storage_writer;

-- migrate:down
DROP VIEW rejected_measure_open;
DROP VIEW device_status;
DROP FUNCTION device_status_at;
DROP FUNCTION measurement_gap;
DROP FUNCTION completeness;
DROP FUNCTION intervals_ended;
DROP FUNCTION intervals_filled;
DROP VIEW measurement_named;
