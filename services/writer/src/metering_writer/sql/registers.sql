-- name: take_notes
-- What batches touched, taken away: other replicas pass over these, and they are there again if this one dies.
WITH taken AS (SELECT ctid FROM register_note LIMIT $1 FOR UPDATE SKIP LOCKED)
DELETE FROM register_note AS note USING taken WHERE note.ctid = taken.ctid
RETURNING note.device_id, note.sensors, note.noted_at, note.received_at, note.since = '-infinity' AS whole,
    CASE WHEN isfinite(note.since) THEN (extract(epoch FROM note.since) * 1000000)::bigint END AS since,
    CASE WHEN isfinite(note.upto) THEN (extract(epoch FROM note.upto) * 1000000)::bigint END AS upto;

-- name: oldest_note_seconds
-- How long the oldest note has waited; 0 when there is none.
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(noted_at)), 0)::float8 FROM register_note;

-- name: keep_activity
-- In the order of devices, so that replicas wait for each other and never block one another: the row is the lock under
-- which everything of a device is kept.
INSERT INTO device_activity AS kept (device_id, first_at, last_at, last_received_at, sensors)
SELECT device_id, TIMESTAMPTZ 'epoch' + since * INTERVAL '1 microsecond', TIMESTAMPTZ 'epoch' + upto * INTERVAL '1 microsecond',
    received_at, sensors::smallint[]
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::text[])
    AS touched (device_id, since, upto, received_at, sensors)
ORDER BY device_id
ON CONFLICT (device_id) DO UPDATE SET
    first_at = least(kept.first_at, excluded.first_at),
    last_at = greatest(kept.last_at, excluded.last_at),
    last_received_at = greatest(kept.last_received_at, excluded.last_received_at),
    sensors = CASE WHEN kept.sensors @> excluded.sensors THEN kept.sensors
        ELSE ARRAY(SELECT DISTINCT one FROM unnest(kept.sensors || excluded.sensors) AS one ORDER BY one) END,
    completeness_at = CASE WHEN excluded.first_at < date_trunc('hour', now()) THEN '-infinity' ELSE kept.completeness_at END
RETURNING device_id, sensors;

-- name: definitions
-- What the registry knows of the registers asked for, and whether anything is kept of them yet; other sensors are left out.
SELECT asked.device_id, asked.sensor_id, sensor.kind = 'net' AS net, sensor.capacity, sensor.resolution,
    coalesce(own.maximum_rate, sensor.maximum_rate) AS maximum_rate,
    coalesce(sensor.interval_seconds, device.interval_seconds) AS interval_seconds, r.device_id IS NOT NULL AS known,
    ARRAY(SELECT (extract(epoch FROM x.at) * 1000000)::bigint FROM meter_exchange AS x
        WHERE x.device_id = asked.device_id AND x.sensor_id = asked.sensor_id ORDER BY x.at) AS exchanged_at,
    ARRAY(SELECT x.closing FROM meter_exchange AS x
        WHERE x.device_id = asked.device_id AND x.sensor_id = asked.sensor_id ORDER BY x.at) AS closings,
    ARRAY(SELECT x.opening FROM meter_exchange AS x
        WHERE x.device_id = asked.device_id AND x.sensor_id = asked.sensor_id ORDER BY x.at) AS openings
FROM unnest($1::integer[], $2::smallint[]) AS asked (device_id, sensor_id)
JOIN sensor ON sensor.id = asked.sensor_id AND sensor.kind IN ('accumulating', 'net')
LEFT JOIN device ON device.id = asked.device_id
LEFT JOIN device_maximum_rate AS own ON own.device_id = asked.device_id AND own.sensor_id = asked.sensor_id
LEFT JOIN register AS r ON r.device_id = asked.device_id AND r.sensor_id = asked.sensor_id;

-- name: read_windows
-- The readings of each register from so many before a time to so many after another one.
SELECT asked.place, (extract(epoch FROM m.ts) * 1000000)::bigint, m.value
FROM (
    SELECT place, device_id, sensor_id, TIMESTAMPTZ 'epoch' + since * INTERVAL '1 microsecond' AS since,
        TIMESTAMPTZ 'epoch' + upto * INTERVAL '1 microsecond' AS upto
    FROM unnest($1::integer[], $2::smallint[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
        AS one (device_id, sensor_id, since, upto, place)
) AS asked, LATERAL (
    (SELECT ts, value FROM measurement AS b
    WHERE b.device_id = asked.device_id AND b.sensor_id = asked.sensor_id AND b.quality <> 3 AND b.ts < asked.since
    ORDER BY ts DESC LIMIT $5::integer)
    UNION ALL
    (SELECT ts, value FROM measurement AS b
    WHERE b.device_id = asked.device_id AND b.sensor_id = asked.sensor_id AND b.quality <> 3
        AND b.ts >= asked.since AND b.ts <= asked.upto)
    UNION ALL
    (SELECT ts, value FROM measurement AS b
    WHERE b.device_id = asked.device_id AND b.sensor_id = asked.sensor_id AND b.quality <> 3 AND b.ts > asked.upto
    ORDER BY ts LIMIT $5::integer)
) AS m;

-- name: read_registers
-- All readings of each register.
SELECT asked.place, (extract(epoch FROM m.ts) * 1000000)::bigint, m.value
FROM unnest($1::integer[], $2::smallint[]) WITH ORDINALITY AS asked (device_id, sensor_id, place)
JOIN measurement AS m ON m.device_id = asked.device_id AND m.sensor_id = asked.sensor_id AND m.quality <> 3;

-- name: read_events
-- The stored events of each register that end at a time or later, and the last one before it.
SELECT asked.place, e.kind, (extract(epoch FROM e.since) * 1000000)::bigint AS since,
    (extract(epoch FROM e.upto) * 1000000)::bigint AS upto, e.before, e.after, e.start, e.step, e."offset", e.estimated,
    e.provisional
FROM (
    SELECT place, device_id, sensor_id, TIMESTAMPTZ 'epoch' + since * INTERVAL '1 microsecond' AS since
    FROM unnest($1::integer[], $2::smallint[], $3::bigint[]) WITH ORDINALITY AS one (device_id, sensor_id, since, place)
) AS asked, LATERAL (
    SELECT * FROM register_event AS x
    WHERE x.device_id = asked.device_id AND x.sensor_id = asked.sensor_id AND x.since >= coalesce((
        SELECT p.since FROM register_event AS p
        WHERE p.device_id = asked.device_id AND p.sensor_id = asked.sensor_id AND p.upto < asked.since
        ORDER BY p.since DESC LIMIT 1
    ), '-infinity')
) AS e
ORDER BY asked.place, e.since;

-- name: delete_events
-- Those that begin between two times; NULL is the very first or last.
DELETE FROM register_event AS e
USING unnest($1::integer[], $2::smallint[], $3::bigint[], $4::bigint[]) AS replaced (device_id, sensor_id, since, before)
WHERE e.device_id = replaced.device_id AND e.sensor_id = replaced.sensor_id
    AND e.since >= coalesce(TIMESTAMPTZ 'epoch' + replaced.since * INTERVAL '1 microsecond', '-infinity')
    AND e.since < coalesce(TIMESTAMPTZ 'epoch' + replaced.before * INTERVAL '1 microsecond', 'infinity');

-- name: shift_events
-- What came before counts more or less than it did: later events begin from there.
UPDATE register_event AS e SET start = e.start + moved.shift, "offset" = e."offset" + moved.shift
FROM unnest($1::integer[], $2::smallint[], $3::bigint[], $4::float8[]) AS moved (device_id, sensor_id, since, shift)
WHERE e.device_id = moved.device_id AND e.sensor_id = moved.sensor_id
    AND e.since >= TIMESTAMPTZ 'epoch' + moved.since * INTERVAL '1 microsecond';

-- name: keep_registers
-- Between which times figures are known; NULL is as before.
INSERT INTO register AS kept (device_id, sensor_id, first_at, last_at)
SELECT one.device_id, one.sensor_id,
    coalesce(TIMESTAMPTZ 'epoch' + one.first_at * INTERVAL '1 microsecond', old.first_at),
    coalesce(TIMESTAMPTZ 'epoch' + one.last_at * INTERVAL '1 microsecond', old.last_at)
FROM unnest($1::integer[], $2::smallint[], $3::bigint[], $4::bigint[]) AS one (device_id, sensor_id, first_at, last_at)
LEFT JOIN register AS old ON old.device_id = one.device_id AND old.sensor_id = one.sensor_id
ON CONFLICT (device_id, sensor_id) DO UPDATE SET first_at = excluded.first_at, last_at = excluded.last_at
WHERE (kept.first_at, kept.last_at) IS DISTINCT FROM (excluded.first_at, excluded.last_at);

-- name: forget_registers
-- Sensors that are no registers, or have no readings any more.
WITH gone AS (
    DELETE FROM register AS r USING unnest($1::integer[], $2::smallint[]) AS one (device_id, sensor_id)
    WHERE r.device_id = one.device_id AND r.sensor_id = one.sensor_id RETURNING r.device_id, r.sensor_id
)
DELETE FROM register_event AS e USING gone WHERE e.device_id = gone.device_id AND e.sensor_id = gone.sensor_id;

-- name: count_presence
-- Counts again how many intervals have a reading, in the hours that were touched; for the whole time of a device when
-- none are given.
INSERT INTO device_presence AS kept (device_id, hour, filled)
SELECT touched.device_id, each.hour, count(filled.number)
FROM (
    SELECT one.device_id, device.interval_seconds AS seconds,
        to_timestamp((ceil(ceil(extract(epoch FROM coalesce(TIMESTAMPTZ 'epoch' + one.since * INTERVAL '1 microsecond',
            activity.first_at)) / device.interval_seconds) * device.interval_seconds / 3600) - 1) * 3600) AS since,
        to_timestamp((ceil(ceil(extract(epoch FROM coalesce(TIMESTAMPTZ 'epoch' + one.upto * INTERVAL '1 microsecond',
            activity.last_at)) / device.interval_seconds) * device.interval_seconds / 3600)) * 3600) AS upto
    FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS one (device_id, since, upto)
    JOIN device ON device.id = one.device_id AND device.interval_seconds IS NOT NULL
    JOIN device_activity AS activity ON activity.device_id = one.device_id
) AS touched
CROSS JOIN LATERAL generate_series(greatest(touched.since, date_trunc('hour', now()) - INTERVAL '31 days'), touched.upto - INTERVAL '1 hour', INTERVAL '1 hour') AS each (hour)
LEFT JOIN LATERAL intervals_filled(touched.device_id, touched.seconds, each.hour, each.hour + INTERVAL '1 hour') AS filled
    ON true
WHERE touched.upto > now() - INTERVAL '31 days'
GROUP BY touched.device_id, each.hour
ON CONFLICT (device_id, hour) DO UPDATE SET filled = excluded.filled WHERE kept.filled <> excluded.filled;

-- name: keep_completeness
-- Of devices whose figures are older than the last whole hour, touched or not; hours past their use are dropped.
WITH due AS (
    SELECT device_id, date_trunc('hour', now()) AS hour FROM device_activity
    WHERE completeness_at < date_trunc('hour', now()) ORDER BY completeness_at LIMIT $1 FOR UPDATE SKIP LOCKED
), dropped AS (
    DELETE FROM device_presence AS p USING due
    WHERE p.device_id = due.device_id AND p.hour < due.hour - INTERVAL '31 days'
), filled AS (
    SELECT due.device_id, due.hour, device.interval_seconds AS seconds,
        coalesce(sum(p.filled) FILTER (WHERE p.hour >= due.hour - INTERVAL '1 day'), 0)::float8 AS day,
        coalesce(sum(p.filled) FILTER (WHERE p.hour >= due.hour - INTERVAL '7 days'), 0)::float8 AS week,
        coalesce(sum(p.filled), 0)::float8 AS month
    FROM due
    LEFT JOIN device ON device.id = due.device_id
    LEFT JOIN device_presence AS p ON p.device_id = due.device_id AND p.hour >= due.hour - INTERVAL '30 days'
        AND p.hour < due.hour
    GROUP BY due.device_id, due.hour, device.interval_seconds
)
UPDATE device_activity AS kept SET completeness_at = filled.hour,
    completeness_day = filled.day / nullif(intervals_ended(filled.seconds, filled.hour - INTERVAL '1 day', filled.hour), 0),
    completeness_week = filled.week / nullif(intervals_ended(filled.seconds, filled.hour - INTERVAL '7 days', filled.hour), 0),
    completeness_month = filled.month / nullif(intervals_ended(filled.seconds, filled.hour - INTERVAL '30 days', filled.hour), 0)
FROM filled WHERE kept.device_id = filled.device_id
RETURNING kept.device_id;
