-- Retention without TimescaleDB: rows past their time are deleted when the writer that holds the lease asks for it.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

CREATE FUNCTION apply_retention() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    kept record;
BEGIN
    FOR kept IN SELECT relation, time_column, keep FROM storage_retention WHERE keep IS NOT NULL LOOP
        EXECUTE format('DELETE FROM %I WHERE %I < now() - $1', kept.relation, kept.time_column) USING kept.keep;
    END LOOP;
END $$;
COMMENT ON FUNCTION apply_retention() IS 'Makes the tables keep what storage_retention says';
REVOKE EXECUTE ON FUNCTION apply_retention() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION apply_retention() TO storage_writer;

-- migrate:down
DROP FUNCTION apply_retention();
