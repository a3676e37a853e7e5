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

-- Retention by TimescaleDB's own policies.
CREATE FUNCTION apply_retention() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    kept record;
    set_to interval;
BEGIN
    FOR kept IN SELECT relation, keep FROM storage_retention LOOP
        SELECT (config ->> 'drop_after')::interval INTO set_to FROM timescaledb_information.jobs
            WHERE proc_name = 'policy_retention' AND hypertable_name = kept.relation;
        IF set_to IS DISTINCT FROM kept.keep THEN
            PERFORM remove_retention_policy(kept.relation::regclass, if_exists => true);
            IF kept.keep IS NOT NULL THEN
                PERFORM add_retention_policy(kept.relation::regclass, drop_after => kept.keep);
            END IF;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION apply_retention() IS 'Makes the policies of TimescaleDB keep what storage_retention says';
REVOKE EXECUTE ON FUNCTION apply_retention() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_retention() TO storage_writer;
SELECT apply_retention();

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'a hypertable is not made a table again: move the data to a new database'; END $$;
