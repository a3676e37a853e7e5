-- The hourly facts as a continuous aggregate with a real-time tail: data's own facts only, the registry's come at reading.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

CREATE MATERIALIZED VIEW measurement_hourly_facts
WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    time_bucket(INTERVAL '1 hour', ts) AS bucket,
    device_id,
    sensor_id,
    count(*) AS measures,
    sum(value) AS total,
    min(value) AS minimum,
    max(value) AS maximum,
    min(ts) AS first_at,
    max(ts) AS last_at,
    series_facts(value ORDER BY ts) AS facts
FROM measurement
WHERE quality <> 3
GROUP BY 1, 2, 3
WITH NO DATA;

-- A refresh must cover what may come late (400 days) and must never reach into dropped chunks, or it would empty hours
-- whose rows are gone: the policy follows storage_retention.
CREATE FUNCTION apply_retention() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    kept record;
    set_to interval;
    refresh_from interval;
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
    SELECT least(INTERVAL '401 days', keep - INTERVAL '2 days') INTO refresh_from
        FROM storage_retention WHERE relation = 'measurement';
    SELECT (config ->> 'start_offset')::interval INTO set_to FROM timescaledb_information.jobs
        WHERE proc_name = 'policy_refresh_continuous_aggregate';
    IF set_to IS DISTINCT FROM refresh_from THEN
        PERFORM remove_continuous_aggregate_policy('measurement_hourly_facts', if_exists => true);
        PERFORM add_continuous_aggregate_policy('measurement_hourly_facts', start_offset => refresh_from,
            end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '15 minutes');
    END IF;
END $$;
COMMENT ON FUNCTION apply_retention() IS 'Makes the policies of TimescaleDB keep what storage_retention says';
REVOKE EXECUTE ON FUNCTION apply_retention() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_retention() TO storage_writer;
SELECT apply_retention();

-- migrate:down
DROP FUNCTION apply_retention();
DROP MATERIALIZED VIEW measurement_hourly_facts;
