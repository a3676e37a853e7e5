-- What the demo asks the storage database, as the read-only role, about its own provider.

-- name: progress
-- How much of what the provider sent is accounted for, whether its meters are known by name and zone yet, and what the
-- register program has still to look at.
SELECT
    coalesce(sum("values"), 0)::bigint AS "values",
    (SELECT count(*) FROM device WHERE provider_id = $1) AS devices,
    (SELECT count(*) FROM register_note) AS notes
FROM ingest_batch
WHERE provider_id = $1;

-- name: account
-- The ledger's sums for the provider, the rows that are there, and the time from the first request to the last row.
SELECT
    count(*)::bigint AS records,
    coalesce(sum("values"), 0)::bigint AS "values",
    coalesce(sum(accepted), 0)::bigint AS accepted,
    coalesce(sum(refused), 0)::bigint AS refused,
    coalesce(sum(not_taken), 0)::bigint AS not_taken,
    coalesce(sum(repeated), 0)::bigint AS repeated,
    coalesce(sum(written), 0)::bigint AS written,
    coalesce(sum(corrected), 0)::bigint AS corrected,
    coalesce(sum(present), 0)::bigint AS present,
    coalesce(sum(superseded), 0)::bigint AS superseded,
    count(*) FILTER (WHERE status = 'dead')::bigint AS dead,
    (SELECT count(*) FROM measurement WHERE device_id = ANY($2::integer[])) AS stored,
    extract(epoch FROM max(stored_at) - min(received_at))::double precision AS seconds,
    (array_agg(batch_id ORDER BY refused DESC, received_at))[1]::text AS batch
FROM ingest_batch
WHERE provider_id = $1;

-- name: refusals
-- What was refused, by rule and sensor, with one of the raw values.
SELECT
    rule,
    sensor_name,
    sum(count)::bigint AS count,
    (array_agg(samples -> 0 ->> 'value'))[1] AS value
FROM rejected_measure
WHERE provider_id = $1
GROUP BY rule, sensor_name
ORDER BY rule, sensor_name;

-- name: energy
-- What each meter counted on each day of its own zone, in kWh.
SELECT device_id, day, consumption
FROM measurement_daily
WHERE device_id = ANY($1::integer[]) AND sensor_name = $2
ORDER BY device_id, day;

-- name: heat_samples
-- How many moments since an instant are stored of a provider's devices, whatever number of sensors each has.
SELECT count(*)
FROM (
    SELECT DISTINCT m.device_id, m.ts
    FROM measurement AS m
    JOIN device ON device.id = m.device_id
    WHERE device.provider_id = $1 AND m.ts >= $2
) AS moment;

-- name: heating_curve
-- The flow temperature that the controllers chose at each outdoor temperature, from the rows of their logs.
SELECT
    round(outdoor.value)::integer AS outdoor,
    avg(flow.value)::double precision AS flow,
    count(*)::integer AS samples
FROM measurement_named AS outdoor
JOIN measurement AS flow ON flow.device_id = outdoor.device_id AND flow.ts = outdoor.time
JOIN sensor ON sensor.id = flow.sensor_id AND sensor.alias = 'T_FLOW'
JOIN device ON device.id = outdoor.device_id
WHERE device.provider_id = $1 AND outdoor.sensor_name = 'Temperatura exterior' AND outdoor.quality = 0
GROUP BY 1
ORDER BY 1;
