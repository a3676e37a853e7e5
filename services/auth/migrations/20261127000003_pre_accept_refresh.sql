-- migrate:up
-- A refresh in two statements: what decides about the presented token, and its acceptance if that has not changed.
CREATE FUNCTION lock_family(presented bytea)
RETURNS TABLE (family_id uuid, gateway_id integer, provider_id integer, family_revoked boolean)
LANGUAGE sql AS $$
    WITH owner AS MATERIALIZED (
        SELECT token.family_id, gateway.provider_id, pg_advisory_xact_lock_shared(7232, gateway.provider_id)
        FROM refresh_token AS token
        JOIN token_family AS family ON family.id = token.family_id
        JOIN gateway ON gateway.id = family.gateway_id
        WHERE token.hash = presented
    )
    SELECT family.id, family.gateway_id, owner.provider_id, family.revoked_at IS NOT NULL
    FROM owner
    JOIN token_family AS family ON family.id = owner.family_id
    FOR NO KEY UPDATE OF family
$$;
COMMENT ON FUNCTION lock_family IS
    'the family of a presented token, locked until the transaction ends: parallel refreshes of one family queue here;'
    ' before it a lock that revocations of the provider wait for, always in this order, so that nobody waits in a circle';

CREATE VIEW refresh_standing AS
SELECT
    token.hash, token.family_id, family.gateway_id, gateway.provider_id, family.revoked_at IS NOT NULL AS family_revoked,
    token.generation, token.sibling, token.issued_at, token.expires_at, token.superseded_at,
    successor.sibling AS successor_sibling, successor.issued_at AS successor_at,
    successor.jti, successor.access_jti, successor.expires_at AS successor_expires_at,
    (SELECT kid FROM signing_key WHERE kid = successor.kid AND state IN ('active', 'retiring')) AS successor_kid,
    successor.access_expires_at,
    provider.active AND gateway.active AS active,
    greatest(provider.revoked_at, gateway.revoked_at) AS revoked_at,
    (SELECT kid FROM signing_key WHERE state = 'active') AS active_kid
FROM refresh_token AS token
JOIN token_family AS family ON family.id = token.family_id
JOIN gateway ON gateway.id = family.gateway_id
JOIN provider ON provider.id = gateway.provider_id
LEFT JOIN LATERAL (
    SELECT * FROM refresh_token AS next
    WHERE next.family_id = token.family_id AND next.generation = token.generation + 1
    ORDER BY next.sibling DESC LIMIT 1
) AS successor ON true;
COMMENT ON VIEW refresh_standing IS 'all that decides about a refresh token, and its latest successor';

CREATE FUNCTION accept_refresh(
    presented bytea, seen bigint, now timestamptz,
    new_hash bytea, new_jti uuid, new_access_jti uuid, new_kid text,
    new_issued_at timestamptz, new_expires_at timestamptz, new_access_expires_at timestamptz
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    standing refresh_standing;
BEGIN
    PERFORM lock_family(presented);
    SELECT * INTO standing FROM refresh_standing WHERE hash = presented; -- a statement of its own: as it is after the lock
    IF NOT FOUND OR hash_record_extended(standing, 0) <> seen THEN
        RETURN false;
    END IF;
    UPDATE refresh_token AS token SET
        presented_at = CASE WHEN token.hash = presented THEN coalesce(presented_at, now) ELSE presented_at END,
        superseded_at = CASE WHEN token.hash = presented THEN NULL ELSE now END
    WHERE family_id = standing.family_id AND generation IN (standing.generation - 1, standing.generation)
        AND superseded_at IS NULL;
    INSERT INTO refresh_token (
        family_id, generation, sibling, hash, jti, access_jti, kid, issued_at, expires_at, access_expires_at
    ) VALUES (
        standing.family_id, standing.generation + 1, coalesce(standing.successor_sibling + 1, 0),
        new_hash, new_jti, new_access_jti, new_kid, new_issued_at, new_expires_at, new_access_expires_at
    );
    RETURN true;
END
$$;
COMMENT ON FUNCTION accept_refresh IS
    'the presented token is the accepted one of its generation: what it replaces, and its siblings, are superseded; its'
    ' successor is kept as a hash, and as the claims it can be signed from again; false, and nothing done, where what'
    ' decides about it is no more as it was seen';

GRANT SELECT ON refresh_standing TO auth_service;

-- migrate:down
DROP FUNCTION accept_refresh;
DROP VIEW refresh_standing;
DROP FUNCTION lock_family;
