-- The growing tables as hypertables; the superuser has created the extension before (docs/operating-storage.md).
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

SELECT create_hypertable('measurement', by_range('ts', INTERVAL '1 day'), create_default_indexes => false);
SELECT create_hypertable('ingest_batch', by_range('received_at', INTERVAL '1 day'), create_default_indexes => false);
SELECT create_hypertable('measurement_correction', by_range('corrected_at', INTERVAL '30 days'),
    create_default_indexes => false);
SELECT create_hypertable('rejected_measure', by_range('received_at', INTERVAL '1 day'), create_default_indexes => false);

-- Late rows still go into a compressed chunk, but slowly: so only after the fortnight in which most late data comes.
ALTER TABLE measurement SET (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'device_id',
    timescaledb.orderby = 'sensor_id, ts'
);
CALL add_columnstore_policy('measurement', after => INTERVAL '14 days');

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'a hypertable is not made a table again: move the data to a new database'; END $$;
