-- What `metering-writer registers` keeps: the events of each register, what each device has sent; and the notes it reads.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

CREATE TABLE register_note (
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    received_at timestamptz,
    since timestamptz,
    upto timestamptz,
    device_id integer NOT NULL,
    sensors smallint[] NOT NULL
);
COMMENT ON TABLE register_note IS
    'What a batch touched, appended in its transaction; taken away by metering-writer registers. No sensors: all of them';
COMMENT ON COLUMN register_note.since IS 'The earliest touched time; NULL where nothing was accepted';

CREATE TABLE register (
    device_id integer NOT NULL,
    sensor_id smallint NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (device_id, sensor_id)
);
COMMENT ON TABLE register IS 'Accumulating and net sensors with readings, and the times between which their figures are known';

CREATE TABLE register_event (
    since timestamptz NOT NULL,
    upto timestamptz NOT NULL,
    before double precision,
    after double precision,
    start double precision NOT NULL,
    step double precision NOT NULL,
    "offset" double precision NOT NULL,
    device_id integer NOT NULL,
    sensor_id smallint NOT NULL,
    estimated boolean NOT NULL,
    provisional boolean NOT NULL,
    kind text NOT NULL,
    PRIMARY KEY (device_id, sensor_id, since),
    CHECK (since < upto),
    CHECK (kind IN ('exchange', 'jitter', 'roll-over', 'dip', 'spike', 'reset', 'jump', 'gap'))
);
COMMENT ON TABLE register_event IS
    'Spans in which a register runs straight, whatever was read inside them; they touch but never overlap (docs/consumption.md)';
COMMENT ON COLUMN register_event.before IS 'The reading at since; NULL where an exchange has none';
COMMENT ON COLUMN register_event.start IS 'The adjusted register at since; step is what it counts until upto';
COMMENT ON COLUMN register_event."offset" IS 'What is added to the readings after upto, until the next event';

CREATE TABLE device_activity (
    device_id integer PRIMARY KEY,
    first_at timestamptz,
    last_at timestamptz,
    last_received_at timestamptz,
    completeness_at timestamptz NOT NULL DEFAULT '-infinity',
    completeness_day double precision,
    completeness_week double precision,
    completeness_month double precision,
    sensors smallint[] NOT NULL DEFAULT '{}'
);
CREATE INDEX device_activity_completeness ON device_activity (completeness_at);
COMMENT ON TABLE device_activity IS 'What each device has sent: from when to when, which sensors, how completely';

CREATE TABLE device_presence (
    device_id integer NOT NULL,
    hour timestamptz NOT NULL,
    filled integer NOT NULL,
    PRIMARY KEY (device_id, hour)
);
COMMENT ON TABLE device_presence IS 'Of the device''s intervals that end within the hour after this time: how many have a reading';

-- Each change of the registry leaves a note in its own transaction, whoever makes it.
CREATE FUNCTION note_registers(of_device integer, of_sensors smallint[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO register_note (since, upto, device_id, sensors) VALUES ('-infinity', 'infinity', of_device, of_sensors)
$$;
CREATE FUNCTION note_sensor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.kind, OLD.capacity, OLD.resolution, OLD.interval_seconds, OLD.maximum_rate)
        IS NOT DISTINCT FROM (NEW.kind, NEW.capacity, NEW.resolution, NEW.interval_seconds, NEW.maximum_rate) THEN
        RETURN NULL;
    END IF;
    PERFORM note_registers(device_id, ARRAY[NEW.id]) FROM device_activity WHERE NEW.id = ANY (sensors);
    RETURN NULL;
END $$;
CREATE FUNCTION note_device() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.interval_seconds IS NOT DISTINCT FROM NEW.interval_seconds THEN
        RETURN NULL;
    END IF;
    PERFORM note_registers(device_id, '{}') FROM device_activity WHERE device_id = NEW.id;
    RETURN NULL;
END $$;
CREATE FUNCTION note_device_sensor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_registers(coalesce(NEW.device_id, OLD.device_id), ARRAY[coalesce(NEW.sensor_id, OLD.sensor_id)]);
    RETURN NULL;
END $$;
CREATE TRIGGER note_sensor AFTER INSERT OR UPDATE OF kind, capacity, resolution, interval_seconds, maximum_rate ON sensor
    FOR EACH ROW EXECUTE FUNCTION note_sensor();
CREATE TRIGGER note_device AFTER INSERT OR UPDATE OF interval_seconds ON device
    FOR EACH ROW EXECUTE FUNCTION note_device();
CREATE TRIGGER note_rate AFTER INSERT OR UPDATE OR DELETE ON device_maximum_rate
    FOR EACH ROW EXECUTE FUNCTION note_device_sensor();
CREATE TRIGGER note_exchange AFTER INSERT OR UPDATE OR DELETE ON meter_exchange
    FOR EACH ROW EXECUTE FUNCTION note_device_sensor();

GRANT SELECT, INSERT, UPDATE, DELETE ON register_note, register, register_event, device_activity, device_presence
    TO storage_writer;
GRANT SELECT ON register_note, register, register_event, device_activity, device_presence TO storage_reader;

-- migrate:down
DROP TRIGGER note_exchange ON meter_exchange;
DROP TRIGGER note_rate ON device_maximum_rate;
DROP TRIGGER note_device ON device;
DROP TRIGGER note_sensor ON sensor;
DROP FUNCTION note_device_sensor, note_device, note_sensor, note_registers;
DROP TABLE device_presence, device_activity, register_event, register, register_note;
