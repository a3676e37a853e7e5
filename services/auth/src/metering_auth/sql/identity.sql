-- name: lock_family
-- The family of a presented token, locked until the transaction ends.
SELECT family_id, gateway_id FROM lock_family($1);

-- name: hold_off_revocation
-- A revocation of this provider or of one of its gateways waits until this transaction has ended.
SELECT pg_advisory_xact_lock_shared(7232, $1);

-- name: hold_off_refreshes
-- Waits for the provider's tokens that are being issued, and lets no other be issued until the transaction ends.
SELECT pg_advisory_xact_lock(7232, $1);

-- name: standing
-- All that decides about a presented token, and its hash. $2 is the time, NULL in production: the database's clock.
SELECT coalesce($2::timestamptz, clock_timestamp()) AS now, hash_record_extended(standing, 0) AS seen, standing.*
FROM refresh_standing AS standing
WHERE standing.hash = $1;

-- name: accept_refresh
-- The presented token is accepted and its successor kept; false if what was seen of it has changed meanwhile.
SELECT accept_refresh($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: supersede_all
-- A token of the time after the backup takes the place of all that the backup knows of its family.
UPDATE refresh_token SET superseded_at = $2 WHERE family_id = $1 AND superseded_at IS NULL;

-- name: add_token
-- A token of a family: its hash, and the claims it can be signed from again.
INSERT INTO refresh_token (
    hash, family_id, generation, sibling, jti, access_jti, kid, issued_at, expires_at, access_expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: adopt_token
-- A presented token of the time after the backup, accepted in its generation.
INSERT INTO refresh_token (hash, family_id, generation, sibling, jti, kid, issued_at, expires_at, presented_at)
VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8);

-- name: revoke_family
-- No token of the family refreshes any more; false when that was so already.
UPDATE token_family SET revoked_at = $2, revoked_reason = $3 WHERE id = $1 AND revoked_at IS NULL RETURNING true;

-- name: add_family
-- A family begins with one token asked for a gateway.
INSERT INTO token_family (id, gateway_id, created_at) VALUES ($1, $2, $3);

-- name: gateway_standing
-- What a new token for a gateway depends on. $2 is the time, NULL in production: the database's clock.
SELECT
    coalesce($2::timestamptz, clock_timestamp()) AS now,
    gateway.provider_id,
    provider.active AND gateway.active AS active,
    greatest(provider.revoked_at, gateway.revoked_at) AS revoked_at,
    (SELECT kid FROM signing_key WHERE state = 'active') AS active_kid
FROM gateway JOIN provider ON provider.id = gateway.provider_id
WHERE gateway.id = $1;

-- name: provider_of_gateway
-- Whose a gateway is; that never changes.
SELECT provider_id FROM gateway WHERE id = $1;

-- name: now
-- The time. $1 is NULL in production: the database's clock.
SELECT coalesce($1::timestamptz, clock_timestamp());

-- name: kept_keys
-- Every key that is not retired, oldest first.
SELECT * FROM signing_key WHERE state <> 'retired' ORDER BY created_at, kid;

-- name: all_keys
-- Every key there ever was, without its private part, oldest first.
SELECT kid, state, created_at, announced_at, active_at, retiring_at, withdrawn_at, retired_at, accept_until,
    left(convert_from(substr(private_sealed, 1, 8), 'UTF8'), 8) AS master_key_id
FROM signing_key ORDER BY created_at, kid;

-- name: add_key
-- A new key, published or (the first one) active at once.
INSERT INTO signing_key (kid, state, public_key, private_sealed, created_at, active_at)
VALUES ($1, $2::text, $3, $4, $5::timestamptz, CASE WHEN $2::text = 'active' THEN $5::timestamptz END)
RETURNING *;

-- name: announce_key
-- The key's public part has been seen to be published.
UPDATE signing_key SET announced_at = $2
WHERE kid = $1::text AND announced_at IS NULL AND NOT EXISTS (SELECT FROM registry_outbox WHERE key = 'key:' || $1::text);

-- name: retire_active
-- The key that signed until now begins to retire.
UPDATE signing_key SET state = 'retiring', retiring_at = $1, accept_until = $2 WHERE state = 'active' RETURNING *;

-- name: activate_key
-- This key signs from now on.
UPDATE signing_key SET state = 'active', active_at = $2 WHERE kid = $1 AND state = 'published' RETURNING *;

-- name: withdraw_key
-- Nothing this key has signed is trusted any more; its private part is forgotten.
UPDATE signing_key SET state = 'withdrawn', withdrawn_at = $2, accept_until = $3, private_sealed = NULL
WHERE kid = $1 AND state IN ('published', 'active', 'retiring') RETURNING *;

-- name: forget_private_part
-- A key that will not sign again keeps only its public part.
UPDATE signing_key SET private_sealed = NULL WHERE kid = $1 AND state IN ('retiring', 'withdrawn');

-- name: retire_key
-- No refresh token it has signed is alive.
UPDATE signing_key SET state = 'retired', retired_at = $2, private_sealed = NULL
WHERE kid = $1 AND state IN ('retiring', 'withdrawn') RETURNING *;

-- name: rewrap_key
-- The same private part under another master key.
UPDATE signing_key SET private_sealed = $2 WHERE kid = $1;

-- name: restore_window
-- The times of the backup and of its restoring while the switch is on, else NULL.
SELECT backup_at, restored_at FROM restore_window;

-- name: set_restore_window
-- The switch on (both times) or off (both NULL).
UPDATE restore_window SET backup_at = $1, restored_at = $2;

-- name: live_families
-- The families of a gateway that are not revoked, with the newest time at which a token of each was accepted.
SELECT family.id, (
    SELECT max(token.issued_at) FROM refresh_token AS token
    WHERE token.family_id = family.id AND (token.presented_at IS NOT NULL OR token.generation = 0)
) AS accepted_issued_at, (
    SELECT max(token.generation) FROM refresh_token AS token WHERE token.family_id = family.id
) AS generation
FROM token_family AS family
WHERE family.gateway_id = $1 AND family.revoked_at IS NULL
ORDER BY family.id
FOR NO KEY UPDATE OF family;

-- name: forget_expired_tokens
-- Tokens that expired before $1, at most $2, but those that another replica forgets at the moment; whose they were.
WITH expired AS (
    SELECT family_id, generation, sibling FROM refresh_token
    WHERE expires_at < $1 ORDER BY expires_at LIMIT $2
    FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM refresh_token AS token USING expired
    WHERE (token.family_id, token.generation, token.sibling) = (expired.family_id, expired.generation, expired.sibling)
    RETURNING token.family_id
)
SELECT DISTINCT family_id FROM forgotten;

-- name: forget_empty_families
-- Those of these families of which no token is left.
DELETE FROM token_family AS family
WHERE family.id = ANY ($1::uuid[])
    AND NOT EXISTS (SELECT FROM refresh_token AS token WHERE token.family_id = family.id);
