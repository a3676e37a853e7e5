-- What a register counted between two instants: two look-ups; and the periods that people ask for.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

CREATE FUNCTION measurements_kept_since() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce((SELECT now() - keep FROM storage_retention WHERE relation = 'measurement'), '-infinity')
$$;
COMMENT ON FUNCTION measurements_kept_since() IS 'Before it rows may be dropped already, so that no figure is known';

CREATE FUNCTION register_at(of_device integer, of_sensor smallint, instant timestamptz)
    RETURNS TABLE (adjusted double precision) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN instant <= event.upto THEN event.start
            + event.step * (extract(epoch FROM instant - event.since) / extract(epoch FROM event.upto - event.since))::float8
        WHEN before.ts IS NULL THEN after.value + coalesce(event."offset", 0)
        WHEN after.ts IS NULL THEN before.value + coalesce(event."offset", 0)
        ELSE before.value + coalesce(event."offset", 0) + (after.value - before.value)
            * (extract(epoch FROM instant - before.ts) / extract(epoch FROM after.ts - before.ts))::float8
    END
    FROM (SELECT) AS one
    LEFT JOIN LATERAL (
        SELECT e.since, e.upto, e.start, e.step, e."offset" FROM register_event AS e
        WHERE e.device_id = of_device AND e.sensor_id = of_sensor AND e.since <= instant
        ORDER BY e.since DESC LIMIT 1
    ) AS event ON true
    LEFT JOIN LATERAL (
        SELECT m.ts, m.value FROM measurement AS m
        WHERE m.device_id = of_device AND m.sensor_id = of_sensor AND m.ts <= instant AND m.quality <> 3
            AND (event.upto < instant) IS NOT FALSE
        ORDER BY m.ts DESC LIMIT 1
    ) AS before ON true
    LEFT JOIN LATERAL (
        SELECT m.ts, m.value FROM measurement AS m
        WHERE m.device_id = of_device AND m.sensor_id = of_sensor AND m.ts > instant AND m.quality <> 3
            AND (event.upto < instant) IS NOT FALSE AND before.ts IS DISTINCT FROM instant
        ORDER BY m.ts LIMIT 1
    ) AS after ON true
$$;
COMMENT ON FUNCTION register_at IS
    'The adjusted register at an instant between its first and last reading, interpolated between the readings around it';

CREATE FUNCTION register_consumption(of_device integer, of_sensor smallint, since timestamptz, upto timestamptz)
    RETURNS TABLE (consumption double precision, estimated double precision, estimated_time interval,
        adjusted boolean, provisional boolean) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT at_end.adjusted - at_start.adjusted,
        CASE WHEN expected.seconds IS NOT NULL THEN events.estimated END,
        CASE WHEN expected.seconds IS NOT NULL THEN events.estimated_time END,
        events.adjusted, events.provisional
    FROM register AS r
    CROSS JOIN LATERAL (
        SELECT greatest(since, r.first_at, measurements_kept_since()) AS since, least(upto, r.last_at) AS upto
    ) AS span
    CROSS JOIN LATERAL register_at(of_device, of_sensor, span.since) AS at_start
    CROSS JOIN LATERAL register_at(of_device, of_sensor, span.upto) AS at_end
    CROSS JOIN LATERAL (
        SELECT coalesce((SELECT s.interval_seconds FROM sensor AS s WHERE s.id = of_sensor),
            (SELECT d.interval_seconds FROM device AS d WHERE d.id = of_device)) AS seconds
    ) AS expected
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(e.step * share.part) FILTER (WHERE e.estimated), 0) AS estimated,
            coalesce(sum((e.upto - e.since) * share.part) FILTER (WHERE e.estimated), '0') AS estimated_time,
            coalesce(bool_or(e.kind <> 'gap'), false) AS adjusted,
            coalesce(bool_or(e.provisional), false) AS provisional
        FROM register_event AS e
        CROSS JOIN LATERAL (
            SELECT (extract(epoch FROM least(e.upto, span.upto) - greatest(e.since, span.since))
                / extract(epoch FROM e.upto - e.since))::float8 AS part
        ) AS share
        WHERE e.device_id = of_device AND e.sensor_id = of_sensor AND e.since < span.upto AND e.upto > span.since
            AND e.since >= coalesce((
                SELECT p.since FROM register_event AS p
                WHERE p.device_id = of_device AND p.sensor_id = of_sensor AND p.since <= span.since
                ORDER BY p.since DESC LIMIT 1
            ), '-infinity')
    ) AS events
    WHERE r.device_id = of_device AND r.sensor_id = of_sensor AND since < r.last_at AND upto >= greatest(r.first_at, measurements_kept_since())
$$;
COMMENT ON FUNCTION register_consumption IS
    'What a register counted between two instants; no row where it was not read between them nor on both sides';

CREATE FUNCTION measured_facts(of_device integer, of_sensor smallint, since timestamptz, upto timestamptz,
    hold interval, known_until timestamptz) RETURNS TABLE (mean double precision, mean_by_time double precision,
    minimum double precision, maximum double precision, first_value double precision, first_at timestamptz,
    last_value double precision, last_at timestamptz, measures bigint) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT avg(value) FILTER (WHERE inside),
        sum(value * extract(epoch FROM held)::float8) / nullif(sum(extract(epoch FROM held)::float8), 0),
        min(value) FILTER (WHERE inside), max(value) FILTER (WHERE inside),
        (array_agg(value ORDER BY ts) FILTER (WHERE inside))[1], min(ts) FILTER (WHERE inside),
        (array_agg(value ORDER BY ts DESC) FILTER (WHERE inside))[1], max(ts) FILTER (WHERE inside),
        count(*) FILTER (WHERE inside)
    FROM (
        SELECT ts, value, ts > since AS inside, greatest(INTERVAL '0',
            least(lead(ts) OVER (ORDER BY ts), ts + hold, upto, known_until) - greatest(ts, since)) AS held
        FROM (
            (SELECT m.ts, m.value FROM measurement AS m
            WHERE m.device_id = of_device AND m.sensor_id = of_sensor AND m.quality <> 3
                AND m.ts <= since AND m.ts > coalesce(since - hold, '-infinity')
            ORDER BY m.ts DESC LIMIT 1)
            UNION ALL
            (SELECT m.ts, m.value FROM measurement AS m
            WHERE m.device_id = of_device AND m.sensor_id = of_sensor AND m.quality <> 3
                AND m.ts > since AND m.ts <= upto)
        ) AS read
    ) AS measured
$$;
COMMENT ON FUNCTION measured_facts IS
    'mean is of the readings; mean_by_time weighs each by how long it holds: until the next one, at most for hold';

CREATE FUNCTION periods(unit text, zone text, since timestamptz, upto timestamptz)
    RETURNS TABLE (since timestamptz, upto timestamptz, day date) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT bucket.since, bucket.since + step.length, (bucket.since AT TIME ZONE zone)::date
    FROM (SELECT CASE unit WHEN 'quarter' THEN INTERVAL '15 minutes' WHEN 'hour' THEN INTERVAL '1 hour' END AS length) AS step
    CROSS JOIN LATERAL generate_series(date_bin(step.length, $3 - INTERVAL '1 microsecond', '2000-01-01 00:00:00+00'),
        $4 - INTERVAL '1 microsecond', step.length) AS bucket (since)
    WHERE unit IN ('quarter', 'hour')
    UNION ALL
    SELECT local.begins AT TIME ZONE zone, (local.begins + step.length) AT TIME ZONE zone, local.begins::date
    FROM (SELECT CASE unit WHEN 'day' THEN INTERVAL '1 day' WHEN 'month' THEN INTERVAL '1 month' END AS length) AS step
    CROSS JOIN LATERAL generate_series(date_trunc(unit, ($3 - INTERVAL '1 microsecond') AT TIME ZONE zone),
        ($4 - INTERVAL '1 microsecond') AT TIME ZONE zone, step.length) AS local (begins)
    WHERE unit IN ('day', 'month')
$$;
COMMENT ON FUNCTION periods IS
    'Quarter-hours, hours, days or months (of the zone) in which the two times and all between lie; a time on an edge '
    'lies in the period that ends there';

CREATE FUNCTION figures(unit text) RETURNS TABLE (bucket timestamptz, bucket_end timestamptz, day date, provider text,
    device_number text, sensor_name text, unit text, mean double precision, mean_by_time double precision,
    minimum double precision, maximum double precision, first_value double precision, first_at timestamptz,
    last_value double precision, last_at timestamptz, measures bigint, consumption double precision,
    estimated double precision, estimated_time interval, adjusted boolean, provisional boolean, device_id integer,
    sensor_id smallint, zone text) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT period.since, period.upto, period.day, provider.name, device.number, sensor.name, sensor.unit,
        facts.mean, facts.mean_by_time, facts.minimum, facts.maximum, facts.first_value, facts.first_at,
        facts.last_value, facts.last_at, coalesce(facts.measures, 0), counted.consumption, counted.estimated,
        counted.estimated_time, counted.adjusted, counted.provisional, activity.device_id, measured.sensor_id, own.zone
    FROM device_activity AS activity
    CROSS JOIN LATERAL unnest(activity.sensors) AS measured (sensor_id)
    LEFT JOIN device ON device.id = activity.device_id
    LEFT JOIN provider ON provider.id = device.provider_id
    LEFT JOIN sensor ON sensor.id = measured.sensor_id
    LEFT JOIN register AS r ON r.device_id = activity.device_id AND r.sensor_id = measured.sensor_id
    CROSS JOIN LATERAL (
        SELECT coalesce(device.zone, 'UTC') AS zone,
            make_interval(secs => 3 * coalesce(sensor.interval_seconds, device.interval_seconds)) AS hold
    ) AS own
    CROSS JOIN LATERAL periods($1, own.zone,
        greatest(coalesce(r.first_at, activity.first_at), measurements_kept_since()),
        coalesce(r.last_at, activity.last_at)) AS period
    LEFT JOIN LATERAL measured_facts(activity.device_id, measured.sensor_id, period.since, period.upto, own.hold,
        activity.last_at) AS facts ON true
    LEFT JOIN LATERAL register_consumption(activity.device_id, measured.sensor_id, period.since, period.upto) AS counted
        ON true
    WHERE r.device_id IS NOT NULL OR EXISTS (
        SELECT FROM measurement AS m
        WHERE m.device_id = activity.device_id AND m.sensor_id = measured.sensor_id AND m.quality <> 3
            AND m.ts > period.since AND m.ts <= period.upto
    )
$$;
COMMENT ON FUNCTION figures IS 'Periods of every sensor of every device: filter by device, since nothing is kept';

CREATE VIEW measurement_quarter AS SELECT * FROM figures('quarter');
CREATE VIEW measurement_hourly AS SELECT * FROM figures('hour');
CREATE VIEW measurement_daily AS SELECT * FROM figures('day');
CREATE VIEW measurement_monthly AS SELECT * FROM figures('month');
COMMENT ON VIEW measurement_quarter IS 'Quarter-hours in UTC; columns as measurement_daily';
COMMENT ON VIEW measurement_hourly IS 'Hours in UTC; columns as measurement_daily';
COMMENT ON VIEW measurement_daily IS 'Days of the device''s own zone, 23 or 25 hours long where the clocks change';
COMMENT ON VIEW measurement_monthly IS 'Months of the device''s own zone; columns as measurement_daily';

CREATE FUNCTION demand(period text) RETURNS TABLE (day date, provider text, device_number text, sensor_name text,
    unit text, demand double precision, demand_at timestamptz, device_id integer, sensor_id smallint)
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT date_trunc($1, quarter.day::timestamp)::date, quarter.provider, quarter.device_number, quarter.sensor_name,
        quarter.unit, max(load.value), (array_agg(quarter.bucket ORDER BY load.value DESC NULLS LAST, quarter.bucket))[1],
        quarter.device_id, quarter.sensor_id
    FROM figures('quarter') AS quarter
    CROSS JOIN LATERAL (
        SELECT CASE WHEN quarter.consumption IS NULL THEN quarter.mean_by_time ELSE quarter.consumption * 4 END AS value
    ) AS load
    GROUP BY 1, 2, 3, 4, 5, 8, 9
$$;
COMMENT ON FUNCTION demand IS
    'The highest quarter-hour mean of each day or month and the quarter it came in: of a register per hour, else of values';
CREATE VIEW demand_daily AS SELECT * FROM demand('day');
CREATE VIEW demand_monthly AS SELECT * FROM demand('month');
COMMENT ON VIEW demand_daily IS 'The highest quarter-hour mean of each day of the device''s own zone, and when it began';
COMMENT ON VIEW demand_monthly IS 'The highest quarter-hour mean of each month of the device''s own zone, and when it began';

GRANT SELECT ON measurement_quarter, measurement_hourly, measurement_daily, measurement_monthly, demand_daily,
    demand_monthly TO storage_reader, storage_writer;

-- migrate:down
DROP VIEW demand_monthly, demand_daily;
DROP FUNCTION demand;
DROP VIEW measurement_monthly, measurement_daily, measurement_hourly, measurement_quarter;
DROP FUNCTION figures, periods, measured_facts, register_consumption, register_at, measurements_kept_since;
