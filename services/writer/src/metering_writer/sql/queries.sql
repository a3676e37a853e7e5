-- name: plan_by_keys
-- For this transaction: every look-up goes by key, whatever statistics say of a table that was empty a minute ago.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('jit', 'off', true);

-- name: lock_offsets
-- The partitions' rows, locked in one order for everybody: whoever holds them is the only one to write their envelopes.
SELECT partition, next_offset FROM consumer_offset
WHERE topic = $1 AND partition = ANY ($2::integer[])
ORDER BY topic, partition
FOR UPDATE;

-- name: read_offsets
-- The partitions' rows, as they are stored.
SELECT partition, next_offset, envelope_id FROM consumer_offset
WHERE topic = $1 AND partition = ANY ($2::integer[]);

-- name: list_offsets
-- All rows, for the operator.
SELECT topic, partition, next_offset, envelope_id FROM consumer_offset ORDER BY topic, partition;

-- name: add_offset
-- A partition that is seen for the first time.
INSERT INTO consumer_offset (topic, partition, next_offset) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: set_offset
-- The operator's word: go on here, and compare nothing.
INSERT INTO consumer_offset (topic, partition, next_offset) VALUES ($1, $2, $3)
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset, envelope_id = NULL;

-- name: advance_offsets
-- In the transaction of the rows: what comes next, and which envelope was the last.
UPDATE consumer_offset AS kept SET next_offset = moved.next_offset, envelope_id = moved.envelope_id
FROM unnest($2::integer[], $3::bigint[], $4::uuid[]) AS moved (partition, next_offset, envelope_id)
WHERE kept.topic = $1 AND kept.partition = moved.partition;

-- name: blocking_sessions
-- Ends whatever session holds the lock that the given one waits for: a stopped process keeps its lock while it sleeps.
SELECT pid, pg_terminate_backend(pid) AS terminated FROM unnest(pg_blocking_pids($1)) AS pid;

-- name: known_entries
-- Entries that have their result already.
SELECT asked.batch_id, asked.item
FROM unnest($1::uuid[], $2::smallint[], $3::timestamptz[]) AS asked (batch_id, item, received_at),
    LATERAL (
        SELECT FROM ingest_batch AS b
        WHERE b.batch_id = asked.batch_id AND b.item = asked.item AND b.received_at = asked.received_at
        LIMIT 1
    ) AS known;

-- name: devices_with_rows
-- Devices that have any row in the range of times which the batch brings of them: the others need no closer look.
SELECT asked.device_id
FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS asked (device_id, since, upto),
    LATERAL (
        SELECT FROM measurement AS m
        WHERE m.device_id = asked.device_id
            AND m.ts >= to_timestamp(asked.since) AND m.ts <= to_timestamp(asked.upto)
            AND m.ts >= to_timestamp($4::bigint) AND m.ts <= to_timestamp($5::bigint)
        LIMIT 1
    ) AS present;

-- name: existing_values
-- Every value that stands under the (device, time) asked for, with the place of its key in the question.
-- OFFSET keeps the planner from turning the look-ups round: a batch is later than what statistics know, so that reading
-- its whole range of times once looks like nothing, and for each row found the whole question would be compared.
SELECT asked.place, m.value, m.rev, m.sensor_id, m.quality
FROM unnest($1::integer[], $2::bigint[]) WITH ORDINALITY AS asked (device_id, ts, place),
    LATERAL (
        SELECT m.sensor_id, m.value, m.quality, m.rev FROM measurement AS m
        WHERE m.device_id = asked.device_id AND m.ts = to_timestamp(asked.ts)
            AND m.ts >= to_timestamp($3::bigint) AND m.ts <= to_timestamp($4::bigint)
        OFFSET 0
    ) AS m;

-- name: make_staging
-- Where rows wait whose keys are there already; of this session, emptied by every commit. They come in the key's order.
CREATE TEMPORARY TABLE IF NOT EXISTS measurement_staging (LIKE measurement) ON COMMIT DELETE ROWS;

-- name: upsert_staged
-- Of two values for one key the one received later stands; an equal value still raises rev, and the first rev of a key
-- is kept once a second one has come. Of equal revs the better quality stands, then the greater value: whichever came
-- first, the same rows remain.
INSERT INTO measurement (ts, value, rev, device_id, sensor_id, quality)
SELECT ts, value, rev, device_id, sensor_id, quality FROM measurement_staging
ON CONFLICT (device_id, ts, sensor_id) DO UPDATE
SET value = excluded.value, rev = excluded.rev, quality = excluded.quality,
    first_rev = coalesce(measurement.first_rev, measurement.rev)
WHERE (measurement.rev, -measurement.quality, measurement.value) < (excluded.rev, -excluded.quality, excluded.value);

-- name: update_staged
-- The same where every key stands: a tenth less work than the upsert, which locks a row before it changes it. Not for
-- hypertables: of a compressed chunk it would unpack more than the rows that it changes.
UPDATE measurement SET value = staged.value, rev = staged.rev, quality = staged.quality,
    first_rev = coalesce(measurement.first_rev, measurement.rev)
FROM measurement_staging AS staged
WHERE measurement.device_id = staged.device_id AND measurement.ts = staged.ts
    AND measurement.sensor_id = staged.sensor_id
    AND (measurement.rev, -measurement.quality, measurement.value) < (staged.rev, -staged.quality, staged.value);

-- name: close_batch
-- The entry was validated again: its ledger row says by which batch.
UPDATE ingest_batch SET replayed_as = $1
WHERE device_id = $2 AND received_at = $3 AND raw_topic = $4 AND raw_partition = $5 AND raw_offset = $6
    AND raw_index = $7
RETURNING batch_id, item;

-- name: close_refusals
-- The old refusals of an entry that was validated again.
UPDATE rejected_measure SET replayed_as = $1
WHERE batch_id = $2 AND item = $3 AND received_at = $4;

-- name: flavour
-- Whether this database's tables are TimescaleDB's, and of which version; no row on plain PostgreSQL.
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';

-- name: has_hypertable
-- Whether `measurement` has been made a hypertable (asked only where the extension is).
SELECT EXISTS (SELECT FROM timescaledb_information.hypertables WHERE hypertable_name = 'measurement');

-- name: zones
-- The zones that this server knows: a device in another one would break every query on days.
SELECT name FROM pg_timezone_names;

-- name: apply_retention
-- Makes the tables keep what storage_retention says.
SELECT apply_retention();

-- name: upsert_providers
-- Providers as the registry has them.
INSERT INTO provider AS kept (id, name, active)
SELECT * FROM unnest($1::integer[], $2::text[], $3::boolean[])
ON CONFLICT (id) DO UPDATE SET name = excluded.name, active = excluded.active, deleted_at = NULL
WHERE (kept.name, kept.active, kept.deleted_at IS NULL) IS DISTINCT FROM (excluded.name, excluded.active, true);

-- name: upsert_gateways
-- Gateways as the registry has them.
INSERT INTO gateway AS kept (id, provider_id, name, active)
SELECT * FROM unnest($1::integer[], $2::integer[], $3::text[], $4::boolean[])
ON CONFLICT (id) DO UPDATE
SET provider_id = excluded.provider_id, name = excluded.name, active = excluded.active, deleted_at = NULL
WHERE (kept.provider_id, kept.name, kept.active, kept.deleted_at IS NULL)
    IS DISTINCT FROM (excluded.provider_id, excluded.name, excluded.active, true);

-- name: upsert_sensors
-- The dictionary as the registry has it.
INSERT INTO sensor AS kept (id, position, name, alias, unit, kind, minimum, maximum, faults, capacity, resolution,
    interval_seconds, maximum_rate)
SELECT * FROM unnest($1::smallint[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::double precision[], $8::double precision[], $9::jsonb[], $10::double precision[], $11::double precision[],
    $12::integer[], $13::double precision[])
ON CONFLICT (id) DO UPDATE
SET position = excluded.position, name = excluded.name, alias = excluded.alias, unit = excluded.unit,
    kind = excluded.kind, minimum = excluded.minimum, maximum = excluded.maximum, faults = excluded.faults,
    capacity = excluded.capacity, resolution = excluded.resolution, interval_seconds = excluded.interval_seconds,
    maximum_rate = excluded.maximum_rate, deleted_at = NULL
WHERE (kept.position, kept.name, kept.alias, kept.unit, kept.kind, kept.minimum, kept.maximum, kept.faults,
    kept.capacity, kept.resolution, kept.interval_seconds, kept.maximum_rate, kept.deleted_at IS NULL)
    IS DISTINCT FROM (excluded.position, excluded.name, excluded.alias, excluded.unit, excluded.kind, excluded.minimum,
    excluded.maximum, excluded.faults, excluded.capacity, excluded.resolution, excluded.interval_seconds,
    excluded.maximum_rate, true);

-- name: upsert_device
-- A device as the registry has it; one at a time, since its lists are of different lengths.
INSERT INTO device AS kept (id, provider_id, number, zone, interval_seconds, sensors, active)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE
SET provider_id = excluded.provider_id, number = excluded.number, zone = excluded.zone,
    interval_seconds = excluded.interval_seconds, sensors = excluded.sensors, active = excluded.active, deleted_at = NULL
WHERE (kept.provider_id, kept.number, kept.zone, kept.interval_seconds, kept.sensors, kept.active,
    kept.deleted_at IS NULL) IS DISTINCT FROM (excluded.provider_id, excluded.number, excluded.zone,
    excluded.interval_seconds, excluded.sensors, excluded.active, true);

-- name: keep_maximum_rates
-- Of these devices ($1) exactly these rates; what is as it was is not touched.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($2::integer[], $3::smallint[], $4::double precision[]) AS one (device_id, sensor_id, maximum_rate)
), gone AS (
    DELETE FROM device_maximum_rate AS kept
    WHERE kept.device_id = ANY ($1::integer[])
        AND (kept.device_id, kept.sensor_id) NOT IN (SELECT device_id, sensor_id FROM given)
)
INSERT INTO device_maximum_rate AS kept (device_id, sensor_id, maximum_rate)
SELECT device_id, sensor_id, maximum_rate FROM given
ON CONFLICT (device_id, sensor_id) DO UPDATE SET maximum_rate = excluded.maximum_rate
WHERE kept.maximum_rate <> excluded.maximum_rate;

-- name: keep_exchanges
-- Of these devices ($1) exactly these exchanges; what is as it was is not touched.
WITH given AS MATERIALIZED (
    SELECT device_id, sensor_id, timestamptz 'epoch' + at * INTERVAL '1 second' AS at, closing, opening
    FROM unnest($2::integer[], $3::smallint[], $4::bigint[], $5::double precision[], $6::double precision[])
        AS one (device_id, sensor_id, at, closing, opening)
), gone AS (
    DELETE FROM meter_exchange AS kept
    WHERE kept.device_id = ANY ($1::integer[])
        AND (kept.device_id, kept.sensor_id, kept.at) NOT IN (SELECT device_id, sensor_id, at FROM given)
)
INSERT INTO meter_exchange AS kept (device_id, sensor_id, at, closing, opening)
SELECT device_id, sensor_id, at, closing, opening FROM given
ON CONFLICT (device_id, sensor_id, at) DO UPDATE SET closing = excluded.closing, opening = excluded.opening
WHERE (kept.closing, kept.opening) IS DISTINCT FROM (excluded.closing, excluded.opening);

-- name: mark_deleted_providers
-- What is absent from the registry: all but the given ones.
UPDATE provider SET deleted_at = now() WHERE deleted_at IS NULL AND id <> ALL ($1::integer[]);

-- name: mark_deleted_gateways
-- What is absent from the registry: all but the given ones.
UPDATE gateway SET deleted_at = now() WHERE deleted_at IS NULL AND id <> ALL ($1::integer[]);

-- name: mark_deleted_sensors
-- What is absent from the registry: all but the given ones.
UPDATE sensor SET deleted_at = now() WHERE deleted_at IS NULL AND id <> ALL ($1::smallint[]);

-- name: mark_deleted_devices
-- What is absent from the registry: all but the given ones.
UPDATE device SET deleted_at = now() WHERE deleted_at IS NULL AND id <> ALL ($1::integer[]);

-- name: mark_removed_providers
-- These providers the registry no longer has.
UPDATE provider SET deleted_at = now() WHERE deleted_at IS NULL AND id = ANY ($1::integer[]);

-- name: mark_removed_gateways
-- These gateways the registry no longer has.
UPDATE gateway SET deleted_at = now() WHERE deleted_at IS NULL AND id = ANY ($1::integer[]);

-- name: mark_removed_sensors
-- These sensors the registry no longer has.
UPDATE sensor SET deleted_at = now() WHERE deleted_at IS NULL AND id = ANY ($1::smallint[]);

-- name: mark_removed_devices
-- These devices the registry no longer has.
UPDATE device SET deleted_at = now() WHERE deleted_at IS NULL AND id = ANY ($1::integer[]);

-- name: entries_to_replay
-- Entries of a device with something refused, or with values not taken, that no replay has validated again yet.
SELECT b.batch_id, b.item, b.received_at, b.raw_topic, b.raw_partition, b.raw_offset, b.raw_index, b.refused, b.not_taken,
    (SELECT count(*) FROM rejected_measure AS r
        WHERE r.batch_id = b.batch_id AND r.item = b.item AND r.received_at = b.received_at
            AND ($4::text IS NULL OR r.rule = $4)) AS refusals
FROM ingest_batch AS b
WHERE b.device_id = $1 AND b.received_at >= $2 AND b.received_at < $3 AND b.replayed_as IS NULL AND b.status = 'validated'
    AND CASE WHEN $4::text IS NULL THEN b.refused > 0 OR b.not_taken > 0 ELSE EXISTS (
        SELECT FROM rejected_measure AS r
        WHERE r.batch_id = b.batch_id AND r.item = b.item AND r.received_at = b.received_at AND r.rule = $4
    ) END
ORDER BY b.raw_topic, b.raw_partition, b.raw_offset, b.raw_index;

-- name: replayed_counts
-- What the new results of replayed entries say, all together.
SELECT coalesce(sum(written), 0) AS written, coalesce(sum(corrected), 0) AS corrected,
    coalesce(sum(present), 0) AS already_present, coalesce(sum(superseded), 0) AS superseded,
    coalesce(sum(refused), 0) AS refused, coalesce(sum(not_taken), 0) AS not_taken
FROM ingest_batch WHERE batch_id = ANY ($1::uuid[]);

-- name: entries_not_yet_stored
-- Of the replayed entries asked for, how many have no result yet.
SELECT count(*) AS open
FROM unnest($1::uuid[], $2::smallint[], $3::timestamptz[]) AS asked (batch_id, item, received_at)
WHERE NOT EXISTS (
    SELECT FROM ingest_batch AS b
    WHERE b.batch_id = asked.batch_id AND b.item = asked.item AND b.received_at = asked.received_at
);

-- name: find_sensor
-- One entry of the dictionary, by its id, name or alias.
SELECT id, name FROM sensor WHERE id::text = $1 OR name = $1 OR alias = $1 ORDER BY deleted_at NULLS FIRST LIMIT 1;

-- name: find_device
-- A device by its id, with what people know it by.
SELECT device.id, device.provider_id, device.number, provider.name AS provider
FROM device LEFT JOIN provider ON provider.id = device.provider_id WHERE device.id = $1;

-- name: count_requalified
-- Stored values whose quality would be another one today.
SELECT old_quality, new_quality, count(*) AS count FROM (
    SELECT quality AS old_quality, quality_today($1::integer, $2::smallint, value, quality, rev) AS new_quality
    FROM measurement WHERE device_id = $1 AND sensor_id = $2 AND ts >= $3 AND ts < $4
) AS today WHERE old_quality <> new_quality GROUP BY 1, 2 ORDER BY 1, 2;

-- name: keep_requalified
-- What they were goes to the history, before it is changed; value and rev stay.
INSERT INTO measurement_correction (ts, old_value, old_rev, new_value, new_rev, batch_id, device_id, sensor_id,
    old_quality, new_quality, item, stood)
SELECT ts, value, rev, value, rev, $5::uuid, device_id, sensor_id, quality,
    quality_today($1::integer, $2::smallint, value, quality, rev), $6::smallint, true
FROM measurement WHERE device_id = $1 AND sensor_id = $2 AND ts >= $3 AND ts < $4
    AND quality <> quality_today($1::integer, $2::smallint, value, quality, rev);

-- name: requalify
-- By constants alone, so that of a compressed chunk only what lies in their range is unpacked.
UPDATE measurement SET quality = quality_today($1::integer, $2::smallint, value, quality, rev)
WHERE device_id = $1 AND sensor_id = $2 AND ts >= $3 AND ts < $4
    AND quality <> quality_today($1::integer, $2::smallint, value, quality, rev);

-- name: note_requalified
-- What the act touched, for `metering-writer registers`.
INSERT INTO register_note (since, upto, device_id, sensors)
SELECT min(ts), max(ts), $1::integer, ARRAY[$2::smallint] FROM measurement_correction
WHERE device_id = $1 AND sensor_id = $2 AND ts >= $3 AND ts < $4 AND batch_id = $5 AND item = $6;

-- name: record_requalified
-- The act in the ledger: every value that it changed is a corrected one.
INSERT INTO ingest_batch (received_at, rev, raw_offset, batch_id, device_id, provider_id, raw_partition, measures,
    "values", accepted, refused, not_taken, repeated, written, corrected, present, superseded, refusals_beyond, item,
    items, clock_doubtful, source, status, raw_topic, registry_epoch, registry_position)
VALUES ($1, $2, 0, $3, $4, $5, 0, $6, $6, $6, 0, 0, 0, 0, $6, 0, 0, 0, $7, $8, false, 'requalify', 'requalified', '', '', 0);
