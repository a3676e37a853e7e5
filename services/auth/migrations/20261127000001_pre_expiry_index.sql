-- migrate:up transaction:false
-- So that expired tokens are found without reading the live ones, of which there are about a thousand per gateway.
CREATE INDEX CONCURRENTLY IF NOT EXISTS refresh_token_by_expiry ON refresh_token (expires_at);

-- migrate:down transaction:false
DROP INDEX CONCURRENTLY IF EXISTS refresh_token_by_expiry;
