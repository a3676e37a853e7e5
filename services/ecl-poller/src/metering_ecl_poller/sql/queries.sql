-- name: claim
-- Takes up to $4 controllers that are due at $3 and free, longest waiting first; portals $5 are left in peace.
UPDATE controller
SET leased_by = $1, leased_until = clock_timestamp() + make_interval(secs => $2), lease = lease + 1
WHERE serial IN (
    SELECT serial FROM controller
    WHERE enabled AND next_due <= $3 AND portal <> ALL ($5::text[])
      AND (leased_until IS NULL OR leased_until < clock_timestamp())
    ORDER BY next_due
    LIMIT $4
    FOR UPDATE SKIP LOCKED
)
RETURNING serial, portal, server_code, access_code, lease, attempts, state, clock_state, clock_offset_ms;

-- name: claim_one
-- Takes the one controller $3, due or not, unless someone else holds it.
UPDATE controller
SET leased_by = $1, leased_until = clock_timestamp() + make_interval(secs => $2), lease = lease + 1
WHERE serial = $3 AND (leased_until IS NULL OR leased_until < clock_timestamp())
RETURNING serial, portal, server_code, access_code, lease, attempts, state, clock_state, clock_offset_ms;

-- name: renew
-- Prolongs what this holder still holds; what has run out may be someone else's by now.
UPDATE controller
SET leased_until = clock_timestamp() + make_interval(secs => $2)
WHERE leased_by = $1 AND leased_until > clock_timestamp();

-- name: release
-- Lets go of a controller, if the lease is still this one.
UPDATE controller SET leased_by = NULL, leased_until = NULL WHERE serial = $1 AND lease = $2;

-- name: hold
-- Locks the controller's row for the rest of the transaction; no row when the lease was lost to another.
SELECT serial FROM controller WHERE serial = $1 AND lease = $2 FOR UPDATE;

-- name: finish
-- The poll's result and the next moment; lets go.
UPDATE controller
SET state = $3, reason = $4, attempts = $5, next_due = $6, polled_at = coalesce($7, polled_at),
    leased_by = NULL, leased_until = NULL
WHERE serial = $1 AND lease = $2;

-- name: note_master
-- The controller's own fields of the master data.
UPDATE controller SET name = $2, application = $3, time_zone = $4, software_build = $5 WHERE serial = $1;

-- name: note_clock
-- The state of the controller's clock after its last samples.
UPDATE controller SET clock_state = $2, clock_offset_ms = $3 WHERE serial = $1;

-- name: note_device
-- A device that the master data name.
INSERT INTO portal_device (serial, device, type, name, active, last_read)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (serial, device) DO UPDATE
SET type = excluded.type, name = excluded.name, active = excluded.active, last_read = excluded.last_read,
    gone_since = NULL;

-- name: note_gone
-- Devices that the master data name no longer.
UPDATE portal_device SET gone_since = $3
WHERE serial = $1 AND device <> ALL ($2::text[]) AND gone_since IS NULL
RETURNING device;

-- name: note_problem
-- What keeps a device's values from going on, or nothing.
UPDATE portal_device SET problem = $3 WHERE serial = $1 AND device = $2 AND problem IS DISTINCT FROM $3
RETURNING device;

-- name: cursors
-- How far each channel of a controller has come.
SELECT device, channel, received_at, stamp FROM channel_cursor WHERE serial = $1;

-- name: move_cursor
-- Only forward: an overtaken poll takes nothing back.
INSERT INTO channel_cursor (serial, device, channel, received_at, stamp) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (serial, device, channel) DO UPDATE SET received_at = excluded.received_at, stamp = excluded.stamp
WHERE (channel_cursor.received_at, channel_cursor.stamp) < (excluded.received_at, excluded.stamp);

-- name: holds
-- The channels of a controller that wait, and from where they are read again.
SELECT device, channel, reason, since, resume FROM channel_hold WHERE serial = $1;

-- name: release_holds
-- Channels of a device that wait no longer: all but those named.
DELETE FROM channel_hold WHERE serial = $1 AND device = $2 AND channel <> ALL ($3::text[]);

-- name: hold_channel
-- A channel that waits.
INSERT INTO channel_hold (serial, device, channel, reason, since, resume) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (serial, device, channel) DO UPDATE SET reason = excluded.reason, resume = excluded.resume;

-- name: trusted_spans
-- The stamps of right clocks that were published of a controller.
SELECT device, from_at, to_at FROM trusted_span WHERE serial = $1 ORDER BY device, from_at;

-- name: forget_trusted_spans
-- Before the spans of a device are written down again.
DELETE FROM trusted_span WHERE serial = $1 AND device = $2;

-- name: trust_span
-- A span of stamps of a right clock.
INSERT INTO trusted_span (serial, device, from_at, to_at) VALUES ($1, $2, $3, $4);

-- name: open_gaps
-- Gaps since $2 that the controller's log may still fill.
SELECT device, channel, from_at, to_at, reason FROM gap
WHERE serial = $1 AND to_at >= $2 AND reason NOT IN ('stamp_repeated', 'too_old');

-- name: forget_gaps
-- Holes within the window $3 to $4 that a later look filled.
DELETE FROM gap
WHERE serial = $1 AND device = $2 AND from_at >= $3 AND to_at <= $4
  AND reason NOT IN ('stamp_repeated', 'too_old')
  AND (channel, from_at, to_at) NOT IN (SELECT * FROM unnest($5::text[], $6::timestamptz[], $7::timestamptz[]));

-- name: record_gap
-- A hole, with the reason that was seen first.
INSERT INTO gap (serial, device, channel, from_at, to_at, reason, noticed_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING reason;

-- name: add_controller
-- A controller, or new codes for a known one, which is then asked again.
INSERT INTO controller (serial, portal, server_code, access_code, next_due) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (serial) DO UPDATE
SET portal = excluded.portal, server_code = excluded.server_code, access_code = excluded.access_code,
    enabled = true, state = 'new', reason = NULL, attempts = 0, next_due = excluded.next_due
RETURNING xmax = 0 AS added;

-- name: enable
-- Starts asking a controller again, one that was denied too.
UPDATE controller SET enabled = true, state = CASE state WHEN 'denied' THEN 'new' ELSE state END, reason = NULL,
    attempts = 0, next_due = $2
WHERE serial = $1 RETURNING serial;

-- name: disable
-- Stops asking a controller.
UPDATE controller SET enabled = false WHERE serial = $1 RETURNING serial;

-- name: readmit
-- The controller's codes were accepted again.
UPDATE controller SET state = 'new', reason = NULL, attempts = 0, next_due = $2 WHERE serial = $1 AND state = 'denied';

-- name: remove_controller
-- A controller with all that the poller remembers of it.
DELETE FROM controller WHERE serial = $1 RETURNING serial;

-- name: controllers
-- All controllers with what is known of them.
SELECT serial, portal, enabled, state, reason, attempts, next_due, polled_at, name, application, time_zone,
       software_build, clock_state, clock_offset_ms,
       (SELECT max(version) FROM mapping WHERE mapping.serial = controller.serial) AS mapping_version
FROM controller WHERE $1::text IS NULL OR serial = $1
ORDER BY serial;

-- name: credentials
-- What opens a controller.
SELECT portal, server_code, access_code FROM controller WHERE serial = $1;

-- name: sealed_codes
-- What opens every controller; locked, so that nobody gives one new codes meanwhile.
SELECT serial, server_code, access_code FROM controller ORDER BY serial FOR UPDATE;

-- name: rewrap
-- The same codes under another master key.
UPDATE controller SET server_code = $2, access_code = $3 WHERE serial = $1;

-- name: devices
-- The portal devices of the controllers, with the newest sample published of each.
SELECT serial, device, type, name, active, last_read, gone_since, problem,
       (SELECT max(stamp) FROM channel_cursor AS c WHERE c.serial = d.serial AND c.device = d.device) AS newest
FROM portal_device AS d WHERE $1::text IS NULL OR serial = $1
ORDER BY serial, device;

-- name: gaps
-- The holes, per device and reason with the channels they are in.
SELECT serial, device, from_at, to_at, reason, array_agg(channel ORDER BY channel) AS channels
FROM gap WHERE $1::text IS NULL OR serial = $1
GROUP BY serial, device, from_at, to_at, reason
ORDER BY serial, device, from_at;

-- name: held_channels
-- What waits, per device and reason, and since when.
SELECT serial, device, reason, min(since) AS since, min(resume) AS resume, array_agg(channel ORDER BY channel) AS channels
FROM channel_hold WHERE $1::text IS NULL OR serial = $1
GROUP BY serial, device, reason
ORDER BY serial, device, reason;

-- name: count_held
-- Channels that wait, of controllers that are asked.
SELECT count(*) FROM channel_hold JOIN controller USING (serial) WHERE enabled;

-- name: counts
-- Controllers by state, and how long the one that waits longest at $1 is overdue.
SELECT CASE WHEN enabled THEN state ELSE 'disabled' END AS state, count(*) AS controllers,
       max(extract(epoch FROM $1::timestamptz - next_due)) FILTER (WHERE enabled) AS overdue
FROM controller GROUP BY 1;

-- name: next_mapping_version
-- One number for all controllers of a file.
SELECT nextval('mapping_version');

-- name: make_due
-- A controller is asked soon: it has a mapping that may take what was held.
UPDATE controller SET next_due = least(next_due, $2) WHERE serial = $1;

-- name: apply_mapping
-- A controller's mapping from now on.
INSERT INTO mapping (serial, version, applied_at, document) VALUES ($1, $2, $3, $4);

-- name: mapping
-- The mapping that applies to a controller.
SELECT version, document FROM mapping WHERE serial = $1 ORDER BY version DESC LIMIT 1;

-- name: mappings
-- All mappings that ever applied to a controller.
SELECT version, document FROM mapping WHERE serial = $1 ORDER BY version;

-- name: note_remapped
-- That a mapping was applied again to the answers of a time.
INSERT INTO remapped (serial, version, from_at, to_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: remapped
-- Which mappings were applied again, and to the answers of which time.
SELECT version, from_at, to_at FROM remapped WHERE serial = $1;
