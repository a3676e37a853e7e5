-- The outbox of one gateway. A measure stands in `measure` from before it is first sent until the platform's 201,
-- or in `refused` with the answer if it alone was at fault. Invariant of the file, true after every transaction:
-- stored = sent + measure + refused + forgotten + dropped.

CREATE TABLE IF NOT EXISTS device (
    id INTEGER PRIMARY KEY,
    number TEXT NOT NULL UNIQUE,
    unknown_since_ms INTEGER,
    retry_at_ms INTEGER,
    answer TEXT
) STRICT;

CREATE TABLE IF NOT EXISTS measure (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id INTEGER NOT NULL REFERENCES device (id),
    timestamp INTEGER NOT NULL,
    boot TEXT,          -- of a timestamp that is not yet by the platform's clock: since which boot …
    steady_ms INTEGER,  -- … so many milliseconds had passed; both are empty once it is corrected
    sensor_values TEXT NOT NULL,
    value_count INTEGER NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS measure_uncorrected ON measure (id) WHERE boot IS NOT NULL;
CREATE INDEX IF NOT EXISTS measure_timestamp ON measure (timestamp);

CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY,
    device_id INTEGER NOT NULL REFERENCES device (id),
    timestamp INTEGER NOT NULL,
    sensor_values TEXT NOT NULL,
    value_count INTEGER NOT NULL,
    status INTEGER NOT NULL,
    answer TEXT NOT NULL,
    refused_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS account (
    name TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS result_due (
    location TEXT PRIMARY KEY,
    value_count INTEGER NOT NULL,
    sent_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS replay (
    source TEXT PRIMARY KEY,
    shift_days INTEGER NOT NULL,
    rows_stored INTEGER NOT NULL,
    finished INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS memory (
    name TEXT PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT;
