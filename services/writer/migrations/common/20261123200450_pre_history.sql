-- Which value stood at an instant, and which quality a stored value has by the rules of today.
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

CREATE FUNCTION quality_of(value double precision, minimum double precision, maximum double precision, faults jsonb)
    RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN EXISTS (
            SELECT FROM jsonb_array_elements(faults) AS fault (ends)
            WHERE coalesce(value >= (ends ->> 0)::double precision, true)
                AND coalesce(value <= (ends ->> 1)::double precision, true)
        ) THEN 3
        WHEN value < minimum OR value > maximum THEN 1
        ELSE 0
    END::smallint
$$;
COMMENT ON FUNCTION quality_of IS 'What the rules RV-13 and RV-14 say of a value (docs/rules.md)';

-- A quality of 3 hides whether the sender's clock was doubtful: the ledger knows it for as long as it is kept.
CREATE FUNCTION quality_today(of_device integer, of_sensor smallint, value double precision, quality smallint, rev bigint)
    RETURNS smallint LANGUAGE sql STABLE AS $$
    SELECT greatest(
        quality_of(value, sensor.minimum, sensor.maximum, sensor.faults),
        CASE WHEN quality = 2 OR quality = 3 AND EXISTS (
            SELECT FROM ingest_batch AS b
            WHERE b.device_id = of_device AND b.clock_doubtful AND b.rev = quality_today.rev
                AND b.received_at = timestamptz 'epoch' + (quality_today.rev >> 20) * INTERVAL '1 millisecond'
        ) THEN 2 ELSE 0 END
    )::smallint
    FROM sensor WHERE sensor.id = of_sensor
$$;
COMMENT ON FUNCTION quality_today IS 'The quality that a stored value would get from the dictionary as it is now';

-- migrate:down
DROP FUNCTION quality_today, quality_of;
DROP FUNCTION measurement_as_of;
