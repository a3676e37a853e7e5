-- What a register counted: resets, roll-overs and meter exchanges, once for every figure of consumption.
-- migrate:up
SET LOCAL lock_timeout = '4s';
SET LOCAL statement_timeout = '30s';

CREATE FUNCTION counter_step(before double precision, after double precision, capacity double precision,
    exchanged boolean) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN exchanged THEN greatest(after, 0)
        WHEN after >= before THEN after - before
        WHEN before <= capacity AND before - after > capacity / 2 THEN capacity - before + after
        ELSE greatest(after, 0)
    END
$$;
COMMENT ON FUNCTION counter_step IS
    'What a register counted between two readings. It starts at 0 after an exchange or a reset; a fall by more than '
    'half its capacity is a roll-over, any other fall a reset';

CREATE FUNCTION meter_exchanged(exchanges timestamptz[], after timestamptz, upto timestamptz)
    RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT EXISTS (SELECT FROM unnest(exchanges) AS exchange WHERE exchange > after AND exchange <= upto)
$$;
COMMENT ON FUNCTION meter_exchanged IS 'Whether a meter exchange lies after the first time and not after the second';

-- The state is {first, last, increase, falls, before, after, before, after, …}: at most four falls are kept with their
-- values, so that a roll-over can be told from a reset when the sensor's capacity is known, or corrected, later.
CREATE FUNCTION series_facts_step(state double precision[], value double precision)
    RETURNS double precision[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF state IS NULL THEN
        RETURN ARRAY[value, value, 0, 0];
    END IF;
    IF value >= state[2] THEN
        state[3] := state[3] + (value - state[2]);
    ELSE
        state[3] := state[3] + greatest(value, 0);
        state[4] := state[4] + 1;
        IF state[4] <= 4 THEN
            state := state || ARRAY[state[2], value];
        END IF;
    END IF;
    state[2] := value;
    RETURN state;
END $$;
CREATE AGGREGATE series_facts(double precision) (
    SFUNC = series_facts_step, STYPE = double precision[], PARALLEL = SAFE
);
COMMENT ON AGGREGATE series_facts(double precision) IS
    'Call it with ORDER BY ts: {first, last, increase with every fall read as a reset, falls, (before, after) of falls}';

CREATE FUNCTION rollover_gain(facts double precision[], capacity double precision)
    RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN capacity IS NULL OR facts[4] = 0 OR facts[4] > 4 THEN 0 ELSE (
        SELECT sum(counter_step(facts[3 + 2 * fall], facts[4 + 2 * fall], capacity, false)
            - greatest(facts[4 + 2 * fall], 0))
        FROM generate_series(1, facts[4]::integer) AS fall
    ) END
$$;
COMMENT ON FUNCTION rollover_gain IS
    'What series_facts'' increase lacks where a fall was a roll-over; more than four falls are no roll-overs';

-- migrate:down
DROP FUNCTION rollover_gain;
DROP AGGREGATE series_facts(double precision);
DROP FUNCTION series_facts_step;
DROP FUNCTION meter_exchanged;
DROP FUNCTION counter_step;
