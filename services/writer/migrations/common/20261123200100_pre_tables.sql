-- What the writer keeps: rows, ledger, refusals, dimensions, offsets. The flavours' folders make hypertables of some.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

-- The 8-byte columns first save 8 bytes a row; the key with the time second fills 1.7 times as fast as the other way.
CREATE TABLE measurement (
    ts timestamptz NOT NULL,
    value double precision NOT NULL,
    rev bigint NOT NULL,
    device_id integer NOT NULL,
    sensor_id smallint NOT NULL,
    quality smallint NOT NULL,
    first_rev bigint,  -- NULL costs no byte: what one value alone has been sent for, as for most keys
    PRIMARY KEY (device_id, ts, sensor_id)
);
COMMENT ON TABLE measurement IS 'One row per (device, time, sensor): of two values the one received later (higher rev) stands';
COMMENT ON COLUMN measurement.rev IS 'received-at in milliseconds << 20 | tie-breaker (docs/data.md)';
COMMENT ON COLUMN measurement.first_rev IS 'The rev with which the key first had a value, once a second one has come';
COMMENT ON COLUMN measurement.quality IS '0 good, 1 implausible, 2 clock doubtful, 3 sensor fault';

CREATE TABLE ingest_batch (
    received_at timestamptz NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    rev bigint NOT NULL,
    raw_offset bigint NOT NULL,
    batch_id uuid NOT NULL,
    device_id integer NOT NULL,
    provider_id integer NOT NULL,
    gateway_id integer,
    raw_partition integer NOT NULL,
    measures integer NOT NULL,
    "values" integer NOT NULL,
    accepted integer NOT NULL,
    refused integer NOT NULL,
    not_taken integer NOT NULL,
    repeated integer NOT NULL,
    written integer NOT NULL,
    corrected integer NOT NULL,
    present integer NOT NULL,
    superseded integer NOT NULL,
    refusals_beyond integer NOT NULL,
    item smallint NOT NULL,
    items smallint NOT NULL,
    clock_doubtful boolean NOT NULL,
    source text NOT NULL,
    status text NOT NULL,
    raw_topic text NOT NULL,
    registry_epoch text NOT NULL,
    registry_position bigint NOT NULL,
    traceparent text,
    replays text,
    replayed_as uuid,
    error text,
    PRIMARY KEY (batch_id, item, received_at),
    CHECK (status IN ('validated', 'dead', 'requalified')),
    CHECK ("values" = accepted + refused + not_taken + repeated),
    CHECK (status = 'dead' OR accepted = written + corrected + present + superseded)
);
CREATE INDEX ingest_batch_device ON ingest_batch (device_id, received_at);
COMMENT ON TABLE ingest_batch IS 'The ledger: one row per validated record, with all counts of the accounting';
COMMENT ON COLUMN ingest_batch.status IS
    'requalified: an act of `metering-writer requalify`, which has no raw record (raw_topic is empty)';
COMMENT ON COLUMN ingest_batch.replays IS 'topic/partition/offset of the raw record that this one validated again';
COMMENT ON COLUMN ingest_batch.replayed_as IS 'the batch that validated this record again';

-- The 8-byte columns first, as above. Nobody may change or delete a row: storage_writer may only add them.
CREATE TABLE measurement_correction (
    ts timestamptz NOT NULL,
    corrected_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    old_value double precision NOT NULL,
    old_rev bigint NOT NULL,
    new_value double precision NOT NULL,
    new_rev bigint NOT NULL,
    batch_id uuid NOT NULL,
    device_id integer NOT NULL,
    sensor_id smallint NOT NULL,
    old_quality smallint NOT NULL,
    new_quality smallint NOT NULL,
    item smallint NOT NULL,
    stood boolean NOT NULL
);
CREATE INDEX measurement_correction_key ON measurement_correction (device_id, ts, sensor_id, corrected_at);
COMMENT ON TABLE measurement_correction IS
    'Every value that gave way to another one of its key, one row for each that the ledger counts as corrected or superseded';
COMMENT ON COLUMN measurement_correction.batch_id IS 'With item: the ledger''s row that counts it';
COMMENT ON COLUMN measurement_correction.stood IS
    'The old value could be read until corrected_at; false: it came together with the new one, or after it';

CREATE TABLE rejected_measure (
    received_at timestamptz NOT NULL,
    first_at timestamptz,
    last_at timestamptz,
    batch_id uuid NOT NULL,
    device_id integer NOT NULL,
    provider_id integer NOT NULL,
    count integer NOT NULL,
    item smallint NOT NULL,
    ordinal smallint NOT NULL,
    sensor_id smallint,
    rule text NOT NULL,
    sensor_name text NOT NULL,
    samples jsonb NOT NULL,
    replayed_as uuid,
    PRIMARY KEY (batch_id, item, ordinal, received_at)
);
CREATE INDEX rejected_measure_device ON rejected_measure (device_id, received_at);
COMMENT ON TABLE rejected_measure IS 'What was refused: one row per (record, sensor, rule), with some raw values';
COMMENT ON COLUMN rejected_measure.replayed_as IS 'the batch that validated the record again: this refusal is closed';

CREATE TABLE provider (
    id integer PRIMARY KEY,
    name text NOT NULL,
    active boolean NOT NULL,
    deleted_at timestamptz
);
CREATE TABLE gateway (
    id integer PRIMARY KEY,
    provider_id integer NOT NULL,
    name text NOT NULL,
    active boolean NOT NULL,
    deleted_at timestamptz
);
CREATE TABLE sensor (
    id smallint PRIMARY KEY,
    position integer NOT NULL,
    name text NOT NULL,
    alias text,
    unit text NOT NULL,
    kind text NOT NULL,
    minimum double precision,
    maximum double precision,
    faults jsonb NOT NULL DEFAULT '[]',
    capacity double precision,
    resolution double precision,
    interval_seconds integer,
    maximum_rate double precision,
    deleted_at timestamptz
);
CREATE TABLE device (
    id integer PRIMARY KEY,
    provider_id integer NOT NULL,
    number text NOT NULL,
    zone text NOT NULL,
    interval_seconds integer,
    sensors smallint[] NOT NULL,
    active boolean NOT NULL,
    deleted_at timestamptz
);
CREATE INDEX device_number ON device (number, provider_id);
COMMENT ON TABLE device IS 'Kept from the registry topic by one writer; what left the registry carries deleted_at';

CREATE TABLE device_maximum_rate (
    device_id integer NOT NULL,
    sensor_id smallint NOT NULL,
    maximum_rate double precision NOT NULL,
    PRIMARY KEY (device_id, sensor_id)
);
COMMENT ON TABLE device_maximum_rate IS 'The most that this meter''s register counts in an hour, where sensor.maximum_rate does not hold';
CREATE TABLE meter_exchange (
    device_id integer NOT NULL,
    sensor_id smallint NOT NULL,
    at timestamptz NOT NULL,
    closing double precision,
    opening double precision,
    PRIMARY KEY (device_id, sensor_id, at)
);
COMMENT ON TABLE meter_exchange IS 'Per register: when the meter was exchanged, the old one''s last and the new one''s first reading';

CREATE TABLE consumer_offset (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    batch_id uuid,
    item smallint,
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE consumer_offset IS 'How far each partition is stored, written in the transaction of the rows; batch and item are the last record''s';

CREATE TABLE lease (
    name text PRIMARY KEY,
    holder uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE lease IS 'Which writer keeps the dimension tables, by the clock of the database';

CREATE TABLE storage_retention (
    relation text PRIMARY KEY,
    time_column text NOT NULL,
    keep interval
);
COMMENT ON TABLE storage_retention IS 'How long rows are kept; no interval means for ever. Read by apply_retention()';
INSERT INTO storage_retention (relation, time_column, keep) VALUES
    ('measurement', 'ts', NULL),
    ('measurement_correction', 'corrected_at', NULL),
    ('ingest_batch', 'received_at', '90 days'),
    ('rejected_measure', 'received_at', '90 days');

GRANT SELECT, INSERT, UPDATE ON
    measurement, ingest_batch, rejected_measure, provider, gateway, sensor, device, consumer_offset, lease
    TO storage_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON device_maximum_rate, meter_exchange TO storage_writer;
GRANT SELECT, INSERT ON measurement_correction TO storage_writer;
GRANT SELECT ON storage_retention TO storage_writer;
GRANT SELECT ON
    measurement, measurement_correction, ingest_batch, rejected_measure, provider, gateway, sensor, device,
    device_maximum_rate, meter_exchange, consumer_offset, storage_retention
    TO storage_reader;

-- migrate:down
DROP TABLE storage_retention, lease, consumer_offset, meter_exchange, device_maximum_rate, device, sensor, gateway, provider,
    rejected_measure, ingest_batch, measurement_correction, measurement;
