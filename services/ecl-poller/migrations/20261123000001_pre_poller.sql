-- The poller's own tables: which controllers are polled, how far each channel has come, what is missing and why.
-- migrate:up
SET LOCAL lock_timeout = '4s';

CREATE TABLE controller (
    serial          text PRIMARY KEY CHECK (serial ~ '^[0-9]{1,10}$'),
    portal          text NOT NULL,
    server_code     bytea NOT NULL,
    access_code     bytea NOT NULL,
    enabled         boolean NOT NULL DEFAULT true,
    state           text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'polled', 'failing', 'denied')),
    reason          text,
    attempts        integer NOT NULL DEFAULT 0,
    next_due        timestamptz NOT NULL,
    polled_at       timestamptz,
    name            text,
    application     text,
    time_zone       text,
    software_build  text,
    clock_state     text,
    clock_offset_ms bigint,
    lease           bigint NOT NULL DEFAULT 0,
    leased_by       text,
    leased_until    timestamptz,
    added_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN controller.server_code IS 'sealed under the master key that its first 8 bytes name';
COMMENT ON COLUMN controller.access_code IS 'sealed under the master key that its first 8 bytes name';
COMMENT ON COLUMN controller.state IS 'denied: its codes were refused, it is asked once a day until they are tested or replaced';
COMMENT ON COLUMN controller.attempts IS 'failures in a row';
COMMENT ON COLUMN controller.next_due IS 'by the poller''s clock; leased_until is by the database''s';
COMMENT ON COLUMN controller.lease IS 'counts up with every claim: who holds an older number has lost the controller';
CREATE INDEX controller_by_due ON controller (next_due) WHERE enabled;

CREATE TABLE portal_device (
    serial     text NOT NULL REFERENCES controller ON DELETE CASCADE,
    device     text NOT NULL,
    type       text NOT NULL,
    name       text NOT NULL,
    active     boolean NOT NULL,
    last_read  timestamptz,
    gone_since timestamptz,
    problem    text,
    PRIMARY KEY (serial, device)
);
COMMENT ON COLUMN portal_device.gone_since IS 'deleted on the portal: its data can no longer be fetched';

CREATE TABLE channel_cursor (
    serial      text NOT NULL REFERENCES controller ON DELETE CASCADE,
    device      text NOT NULL,
    channel     text NOT NULL,
    received_at timestamptz NOT NULL,
    stamp       timestamptz NOT NULL,
    PRIMARY KEY (serial, device, channel)
);
COMMENT ON TABLE channel_cursor IS 'how far each channel was read: published, or held, in the portal''s order of receiving';

CREATE TABLE channel_hold (
    serial  text NOT NULL REFERENCES controller ON DELETE CASCADE,
    device  text NOT NULL,
    channel text NOT NULL,
    reason  text NOT NULL,
    since   timestamptz NOT NULL,
    resume  timestamptz,
    PRIMARY KEY (serial, device, channel)
);
COMMENT ON TABLE channel_hold IS 'channels that are read and not published, until a mapping takes them';
COMMENT ON COLUMN channel_hold.resume IS 'the last stamp published; null: nothing yet, the device is read from its beginning';

CREATE TABLE trusted_span (
    serial  text NOT NULL REFERENCES controller ON DELETE CASCADE,
    device  text NOT NULL,
    from_at timestamptz NOT NULL,
    to_at   timestamptz NOT NULL,
    PRIMARY KEY (serial, device, from_at)
);
COMMENT ON TABLE trusted_span IS 'stamps of a right clock that were published: no sample of a wrong clock replaces them';

CREATE TABLE gap (
    serial     text NOT NULL REFERENCES controller ON DELETE CASCADE,
    device     text NOT NULL,
    channel    text NOT NULL,
    from_at    timestamptz NOT NULL,
    to_at      timestamptz NOT NULL CHECK (to_at > from_at),
    reason     text NOT NULL,
    noticed_at timestamptz NOT NULL,
    PRIMARY KEY (serial, device, channel, from_at)
);
COMMENT ON TABLE gap IS 'nothing between the sample at from_at and the one at to_at, for good, and why';

CREATE SEQUENCE mapping_version AS integer MAXVALUE 1048575;
COMMENT ON SEQUENCE mapping_version IS 'the low 20 bits of rev: see metering_common.contract.rev';

CREATE TABLE mapping (
    serial     text NOT NULL REFERENCES controller ON DELETE CASCADE,
    version    integer NOT NULL,
    applied_at timestamptz NOT NULL,
    document   text NOT NULL,
    PRIMARY KEY (serial, version)
);
COMMENT ON TABLE mapping IS 'every mapping that ever applied; the highest version applies now';

CREATE TABLE remapped (
    serial    text NOT NULL REFERENCES controller ON DELETE CASCADE,
    version   integer NOT NULL,
    from_at   timestamptz NOT NULL,
    to_at     timestamptz NOT NULL,
    PRIMARY KEY (serial, version, from_at, to_at)
);
COMMENT ON TABLE remapped IS 'which answers a later mapping version was applied to again';

GRANT SELECT, INSERT, UPDATE, DELETE ON controller, portal_device, channel_cursor, channel_hold, trusted_span, gap, mapping, remapped TO ecl_service;
GRANT USAGE ON SEQUENCE mapping_version TO ecl_service;

-- migrate:down
DROP TABLE remapped, mapping, gap, trusted_span, channel_hold, channel_cursor, portal_device, controller;
DROP SEQUENCE mapping_version;
