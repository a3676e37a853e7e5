-- migrate:up
-- What is to be published again, as it stands when its turn comes: behind both lanes, so that nothing waits for it.
CREATE TABLE registry_again (
    id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL
);
COMMENT ON COLUMN registry_again.key IS 'a record key; its document is read from the tables, a tombstone if it is not there';

GRANT SELECT, INSERT, DELETE ON registry_again TO auth_service;

-- migrate:down
DROP TABLE registry_again;
