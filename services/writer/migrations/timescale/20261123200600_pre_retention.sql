-- Retention by TimescaleDB's own policies.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

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
DROP FUNCTION apply_retention();
