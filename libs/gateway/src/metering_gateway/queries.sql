-- name: device_id
-- The row of a device's number, made if it is new.
INSERT INTO device (number) VALUES (:number)
ON CONFLICT (number) DO UPDATE SET number = excluded.number RETURNING id;

-- name: store
-- One measure, before it is sent; its id is its place in the order.
INSERT INTO measure (device_id, timestamp, boot, steady_ms, sensor_values, value_count)
VALUES (:device_id, :timestamp, :boot, :steady_ms, :sensor_values, :value_count);

-- name: correct_this_boot
-- Measures stored since this boot before the platform's time was known: corrected once, before they are first sent.
UPDATE measure SET timestamp = (steady_ms + :offset_ms) / 1000, boot = NULL, steady_ms = NULL WHERE boot = :boot;

-- name: correct_earlier_boots
-- Those of earlier boots, by what the wall clock is off now: the best that is left to know.
UPDATE measure SET timestamp = timestamp + :seconds, boot = NULL, steady_ms = NULL WHERE boot IS NOT NULL;

-- name: due
-- The oldest measures that may be sent now: those of unknown devices only when their hour has come. A clock that was
-- set back makes them due too.
SELECT m.id, d.number AS device_number, m.timestamp, m.sensor_values, m.value_count
FROM measure AS m JOIN device AS d ON d.id = m.device_id
WHERE m.boot IS NULL AND (d.retry_at_ms IS NULL OR d.retry_at_ms <= :now_ms OR d.unknown_since_ms > :now_ms)
ORDER BY m.id LIMIT :limit;

-- name: uncorrected
-- Whether some measures still wait for the first knowledge of the platform's clock.
SELECT EXISTS (SELECT 1 FROM measure WHERE boot IS NOT NULL);

-- name: next_due
-- When the first unknown device is to be tried again.
SELECT MIN(d.retry_at_ms) FROM device AS d
WHERE d.retry_at_ms IS NOT NULL AND EXISTS (SELECT 1 FROM measure AS m WHERE m.device_id = d.id);

-- name: delete
-- The platform answered 201 for this one.
DELETE FROM measure WHERE id = :id;

-- name: known
-- A device that the platform took is no longer unknown.
UPDATE device SET unknown_since_ms = NULL, retry_at_ms = NULL, answer = NULL
WHERE number = :number AND retry_at_ms IS NOT NULL;

-- name: take_out
-- The platform does not know this device: its measures stay and are tried again at the given time.
UPDATE device
SET unknown_since_ms = COALESCE(unknown_since_ms, :now_ms), retry_at_ms = :retry_at_ms, answer = :answer
WHERE number = :number;

-- name: try_unknown_now
-- An operator says that the devices are registered now.
UPDATE device SET retry_at_ms = 0 WHERE retry_at_ms IS NOT NULL;

-- name: refuse
-- The one measure at fault is kept with the answer.
INSERT INTO refused (id, device_id, timestamp, sensor_values, value_count, status, answer, refused_at_ms)
SELECT id, device_id, timestamp, sensor_values, value_count, :status, :answer, :now_ms FROM measure WHERE id = :id;

-- name: requeue_refused
-- An operator says that the cause is mended: refused measures stand in line again, in their old order.
INSERT INTO measure (id, device_id, timestamp, sensor_values, value_count)
SELECT id, device_id, timestamp, sensor_values, value_count FROM refused ORDER BY id;

-- name: delete_refused
-- After they were queued again, or when an operator gives them up.
DELETE FROM refused;

-- name: count
-- Adds to one figure of the account.
INSERT INTO account (name, count) VALUES (:name, :count)
ON CONFLICT (name) DO UPDATE SET count = count + excluded.count;

-- name: account
-- All figures counted since the outbox was made.
SELECT name, count FROM account ORDER BY name;

-- name: figure
-- One figure counted since the outbox was made.
SELECT count FROM account WHERE name = :name;

-- name: waiting
-- Measures that are neither sent nor refused, and those among them of unknown devices.
SELECT COUNT(*) AS waiting, COALESCE(SUM(d.retry_at_ms IS NOT NULL), 0) AS unknown
FROM measure AS m JOIN device AS d ON d.id = m.device_id;

-- name: refused_count
-- Measures kept as refused.
SELECT COUNT(*) FROM refused;

-- name: refused
-- What was refused and the answer, oldest first.
SELECT r.id, d.number AS device_number, r.timestamp, r.sensor_values, r.status, r.answer, r.refused_at_ms
FROM refused AS r JOIN device AS d ON d.id = r.device_id ORDER BY r.id LIMIT :limit;

-- name: pending_by_device
-- How much waits for each device, and from when to when.
SELECT d.number AS device_number, COUNT(*) AS measures, MIN(m.timestamp) AS first, MAX(m.timestamp) AS last,
    d.retry_at_ms IS NOT NULL AS unknown, d.unknown_since_ms, d.retry_at_ms, d.answer
FROM measure AS m JOIN device AS d ON d.id = m.device_id GROUP BY d.id ORDER BY d.number;

-- name: await_result
-- A batch whose result is still to be read.
INSERT INTO result_due (location, value_count, sent_at_ms) VALUES (:location, :value_count, :now_ms)
ON CONFLICT (location) DO NOTHING;

-- name: results_due
-- Batches whose result is still to be read, oldest first.
SELECT location, value_count FROM result_due ORDER BY sent_at_ms, location;

-- name: awaiting_result
-- Values sent whose result is still to be read.
SELECT COALESCE(SUM(value_count), 0) FROM result_due;

-- name: result_read
-- A batch whose result is counted, or no longer to be had.
DELETE FROM result_due WHERE location = :location;

-- name: replay
-- How far a file has been stored here.
SELECT shift_days, rows_stored, finished FROM replay WHERE source = :source;

-- name: replay_begins
-- A file's replay starts from its first row.
INSERT INTO replay (source, shift_days, rows_stored, finished) VALUES (:source, :shift_days, 0, 0)
ON CONFLICT (source) DO UPDATE SET shift_days = excluded.shift_days, rows_stored = 0, finished = 0;

-- name: replay_stored
-- In the transaction that stores the rows' measures.
UPDATE replay SET rows_stored = :rows_stored WHERE source = :source;

-- name: replay_finished
-- Stored and sent: the next replay of this file starts again.
UPDATE replay SET finished = 1 WHERE source = :source;

-- name: drop_oldest
-- The outbox is at its limit: the oldest measures go.
DELETE FROM measure WHERE id IN (SELECT id FROM measure ORDER BY id LIMIT :count);

-- name: drop_newest
-- The outbox is at its limit: the measures that came last go.
DELETE FROM measure WHERE id IN (SELECT id FROM measure ORDER BY id DESC LIMIT :count);

-- name: drop_older
-- Measures that waited longer than they may.
DELETE FROM measure WHERE timestamp < :before AND boot IS NULL;

-- name: used_bytes
-- What the outbox's rows need on the disk, without pages that are free again.
SELECT (c.page_count - f.freelist_count) * s.page_size
FROM pragma_page_count() AS c, pragma_freelist_count() AS f, pragma_page_size() AS s;

-- name: free_pages
-- Pages that could be given back to the disk.
SELECT freelist_count FROM pragma_freelist_count();

-- name: remember
-- A number that the next process of this gateway begins with.
INSERT INTO memory (name, number) VALUES (:name, :number)
ON CONFLICT (name) DO UPDATE SET number = excluded.number WHERE number <> excluded.number;

-- name: remembered
-- A number that an earlier process left.
SELECT number FROM memory WHERE name = :name;
