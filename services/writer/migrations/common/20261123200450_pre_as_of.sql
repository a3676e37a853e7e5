-- Which value stood at an instant: from what stands now and what gave way since.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

CREATE FUNCTION measurement_as_of(instant timestamptz) RETURNS TABLE (
    provider text, device_number text, sensor_name text, unit text, "time" timestamptz, value double precision,
    quality smallint, device_id integer, sensor_id smallint, rev bigint
) LANGUAGE sql STABLE AS $$
    SELECT provider.name, device.number, sensor.name, sensor.unit, m.ts,
        CASE WHEN before.old_rev IS NULL THEN m.value ELSE before.old_value END,
        CASE WHEN before.old_rev IS NULL THEN m.quality ELSE before.old_quality END,
        m.device_id, m.sensor_id,
        coalesce(before.old_rev, m.rev)
    FROM measurement AS m
    LEFT JOIN (
        SELECT DISTINCT ON (c.device_id, c.ts, c.sensor_id)
            c.device_id, c.ts, c.sensor_id, c.old_value, c.old_quality, c.old_rev
        FROM measurement_correction AS c
        WHERE c.stood AND c.corrected_at > instant
        ORDER BY c.device_id, c.ts, c.sensor_id, c.corrected_at, c.old_rev
    ) AS before ON before.device_id = m.device_id AND before.ts = m.ts AND before.sensor_id = m.sensor_id
    LEFT JOIN device ON device.id = m.device_id
    LEFT JOIN provider ON provider.id = device.provider_id
    LEFT JOIN sensor ON sensor.id = m.sensor_id
    WHERE to_timestamp((coalesce(m.first_rev, m.rev) >> 20) / 1000.0) <= instant
$$;
COMMENT ON FUNCTION measurement_as_of IS
    'Every value as it stood then: a key from the receipt of its first value on, a correction from when it was stored';

-- migrate:down
DROP FUNCTION measurement_as_of;
