-- name: lock_lane
-- Changes of one lane are serialised until the transaction ends, so that the outbox has the order of the commits.
SELECT pg_advisory_xact_lock(7231, $1);

-- name: announce
-- What is to be published: parallel arrays of keys and documents (NULL is a tombstone), in this order.
INSERT INTO registry_outbox (lane, key, document)
SELECT $1, entry.key, entry.document
FROM unnest($2::text[], $3::bytea[]) WITH ORDINALITY AS entry (key, document, place)
ORDER BY entry.place;

-- name: add_provider
-- A new provider.
INSERT INTO provider (name) VALUES ($1) RETURNING *;

-- name: providers
-- All providers.
SELECT * FROM provider ORDER BY id;

-- name: provider
-- One provider, locked against other changes.
SELECT * FROM provider WHERE id = $1 FOR NO KEY UPDATE;

-- name: set_provider
-- Active or not, and the instant at or before which issued tokens are void.
UPDATE provider SET active = $2, revoked_at = $3 WHERE id = $1 RETURNING *;

-- name: add_gateway
-- A new gateway of a provider.
INSERT INTO gateway (provider_id, name) VALUES ($1, $2) RETURNING *;

-- name: gateways
-- All gateways, or one provider's.
SELECT * FROM gateway WHERE $1::integer IS NULL OR provider_id = $1 ORDER BY id;

-- name: gateway
-- One gateway, locked against other changes.
SELECT * FROM gateway WHERE id = $1 FOR NO KEY UPDATE;

-- name: set_gateway
-- Active or not, and the instant at or before which issued tokens are void.
UPDATE gateway SET active = $2, revoked_at = $3 WHERE id = $1 RETURNING *;

-- name: sensors
-- The dictionary in its order.
SELECT * FROM sensor ORDER BY position;

-- name: add_sensor
-- A new entry at the end of the dictionary.
INSERT INTO sensor (position, name, alias, unit, kind, minimum, maximum, faults, capacity, resolution,
    interval_seconds, maximum_rate)
SELECT coalesce(max(position), 0) + 1, $1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10, $11 FROM sensor
RETURNING *;

-- name: set_sensor
-- Everything of an entry but its name and place.
UPDATE sensor SET alias = $2, unit = $3, kind = $4, minimum = $5, maximum = $6, faults = $7::jsonb, capacity = $8,
    resolution = $9, interval_seconds = $10, maximum_rate = $11
WHERE name = $1
RETURNING *;

-- name: devices
-- All devices, or one provider's.
SELECT * FROM device WHERE $1::integer IS NULL OR provider_id = $1 ORDER BY id;

-- name: device
-- One device, locked against other changes.
SELECT * FROM device WHERE id = $1 FOR NO KEY UPDATE;

-- name: add_device
-- A new device of a provider.
INSERT INTO device (provider_id, number, sensors, zone, interval_seconds, maximum_rates, exchanges, active)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb, $8)
RETURNING *;

-- name: set_device
-- Everything of a device but whose it is and its number.
UPDATE device SET sensors = $2, zone = $3, interval_seconds = $4, maximum_rates = $5::jsonb, exchanges = $6::jsonb,
    active = $7
WHERE id = $1
RETURNING *;

-- name: forget_old_imports
-- Lines that an import which was killed has left behind.
DELETE FROM device_import_line WHERE staged_at < clock_timestamp() - interval '1 day';

-- name: drop_import
-- The staged lines of one import.
DELETE FROM device_import_line WHERE import_id = $1;

-- name: take_import
-- All staged devices at once: new ones are added, known ones changed; only what really changed is returned, as it is now
-- and, for the known ones, as it was before.
WITH before AS MATERIALIZED (
    SELECT device.* FROM device
    JOIN device_import_line AS line ON device.provider_id = $2 AND device.number = line.number AND line.import_id = $1
), taken AS (
INSERT INTO device AS known (provider_id, number, sensors, zone, interval_seconds, maximum_rates, exchanges, active)
SELECT $2, number, sensors, zone, interval_seconds, maximum_rates, exchanges, active
FROM device_import_line
WHERE import_id = $1
ORDER BY line
ON CONFLICT (provider_id, number) DO UPDATE SET
    sensors = excluded.sensors,
    zone = excluded.zone,
    interval_seconds = excluded.interval_seconds,
    maximum_rates = excluded.maximum_rates,
    exchanges = excluded.exchanges,
    active = excluded.active
WHERE (known.sensors, known.zone, known.interval_seconds, known.maximum_rates, known.exchanges, known.active)
    IS DISTINCT FROM (excluded.sensors, excluded.zone, excluded.interval_seconds, excluded.maximum_rates,
        excluded.exchanges, excluded.active)
RETURNING known.*
)
SELECT taken.*, before.id IS NULL AS added,
    before.sensors AS sensors_before, before.zone AS zone_before, before.interval_seconds AS interval_seconds_before,
    before.maximum_rates AS maximum_rates_before, before.exchanges AS exchanges_before, before.active AS active_before
FROM taken LEFT JOIN before ON before.id = taken.id;

-- name: next_entries
-- The oldest entries of the first lane that has any.
SELECT id, lane, key, document,
    (extract(epoch FROM created_at) * 1000)::bigint AS created_ms,
    extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_seconds
FROM registry_outbox
WHERE lane = (SELECT min(lane) FROM registry_outbox)
ORDER BY id
LIMIT $1;

-- name: published
-- What has reached the topic leaves the outbox; the topic's position is remembered, and the one before it is told.
WITH gone AS (DELETE FROM registry_outbox WHERE id = ANY ($1::bigint[]))
UPDATE registry_publication SET end_position = $2
FROM registry_publication AS before
RETURNING before.end_position;

-- name: ask_again
-- These keys are to be published again, in this order.
INSERT INTO registry_again (key) SELECT key FROM unnest($1::text[]) WITH ORDINALITY AS asked (key, place) ORDER BY place;

-- name: ask_all_again
-- Everything is to be published again, how much; `meta` last, behind all that its epoch begins with.
WITH asked AS (
    INSERT INTO registry_again (key)
    SELECT key FROM (
        SELECT 1, 0, 'key:' || kid FROM signing_key WHERE state <> 'retired'
        UNION ALL SELECT 2, id, 'provider:' || id FROM provider
        UNION ALL SELECT 3, id, 'gateway:' || id FROM gateway
        UNION ALL SELECT 4, id, 'sensor:' || id FROM sensor
        UNION ALL SELECT 5, id, 'device:' || id FROM device
        UNION ALL SELECT 6, 0, 'meta' FROM registry_publication WHERE epoch IS NOT NULL
    ) AS everything (kind, number, key)
    ORDER BY kind, number
    RETURNING id
)
SELECT count(*) FROM asked;

-- name: next_again
-- The oldest keys that are to be published again.
SELECT id, key FROM registry_again ORDER BY id LIMIT $1;

-- name: pending_among
-- Those of these keys of which a document waits in the outbox: their turn is still to come.
SELECT DISTINCT key FROM registry_outbox WHERE key = ANY ($1::text[]);

-- name: published_again
-- As `published`, for keys that were to be published again; no position if none of them had to be.
WITH gone AS (DELETE FROM registry_again WHERE id = ANY ($1::bigint[]))
UPDATE registry_publication SET end_position = coalesce($2, registry_publication.end_position)
FROM registry_publication AS before
RETURNING before.end_position;

-- name: again_depth
-- How many keys are still to be published again.
SELECT count(*) FROM registry_again;

-- name: outbox_depth
-- How many entries wait per lane, and for how many seconds the oldest has.
SELECT lane, count(*) AS entries, extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS oldest_seconds
FROM registry_outbox GROUP BY lane;

-- name: publication
-- The topic's epoch and position, and whether a comparison was asked for.
SELECT *, compare_requested OR compared_at IS NULL OR compared_at < clock_timestamp() - interval '1 day' AS compare_due
FROM registry_publication;

-- name: new_epoch
-- The topic was recreated: another epoch, and nothing of it is written yet.
UPDATE registry_publication SET epoch = $1, epoch_at = clock_timestamp(), end_position = 0
RETURNING epoch, epoch_at;

-- name: request_comparison
-- The relay compares topic and tables at its next turn.
UPDATE registry_publication SET compare_requested = true;

-- name: compared
-- A comparison has ended.
UPDATE registry_publication SET compare_requested = false, compared_at = clock_timestamp();

-- name: pending_keys
-- Keys of which a document still waits.
SELECT key FROM registry_outbox UNION SELECT key FROM registry_again;

-- name: is_pending
-- Whether one of these keys still waits to be published.
SELECT EXISTS (SELECT FROM registry_outbox WHERE key = ANY ($1::text[]));

-- name: public_keys
-- The keys whose public part stands on the topic.
SELECT kid, public_key, state, accept_until FROM signing_key WHERE state <> 'retired' ORDER BY created_at, kid;

-- name: public_keys_named
-- As `public_keys`, those of these names.
SELECT kid, public_key, state, accept_until FROM signing_key WHERE state <> 'retired' AND kid = ANY ($1::text[]);

-- name: providers_numbered
-- Those of these ids.
SELECT * FROM provider WHERE id = ANY ($1::text[]::integer[]);

-- name: gateways_numbered
-- Those of these ids.
SELECT * FROM gateway WHERE id = ANY ($1::text[]::integer[]);

-- name: sensors_numbered
-- Those of these ids.
SELECT * FROM sensor WHERE id = ANY ($1::text[]::smallint[]);

-- name: devices_numbered
-- Those of these ids.
SELECT * FROM device WHERE id = ANY ($1::text[]::integer[]);
