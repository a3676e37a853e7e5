-- migrate:up
-- Identity: signing keys, sealed; families of refresh tokens, hashes only; the switch used after a restored backup.
CREATE TABLE signing_key (
    kid            text PRIMARY KEY,
    state          text NOT NULL CHECK (state IN ('published', 'active', 'retiring', 'withdrawn', 'retired')),
    public_key     text NOT NULL,
    private_sealed bytea,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    announced_at   timestamptz,
    active_at      timestamptz,
    retiring_at    timestamptz,
    withdrawn_at   timestamptz,
    retired_at     timestamptz,
    accept_until   bigint,
    CHECK (state IN ('published', 'active') OR accept_until IS NOT NULL),
    CHECK (state NOT IN ('published', 'active') OR private_sealed IS NOT NULL)
);
COMMENT ON COLUMN signing_key.private_sealed IS 'PKCS#8 DER, AES-256-GCM under the master key whose id it starts with';
COMMENT ON COLUMN signing_key.announced_at IS 'when its public key was first seen to be on registry.v1';
COMMENT ON COLUMN signing_key.accept_until IS 'Unix seconds after which ingest-api no longer trusts it';
CREATE UNIQUE INDEX signing_key_one_active ON signing_key (state) WHERE state = 'active';

CREATE TABLE token_family (
    id             uuid PRIMARY KEY,
    gateway_id     integer NOT NULL REFERENCES gateway,
    created_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    revoked_reason text CHECK (revoked_reason IN ('reuse', 'client')),
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
);
CREATE INDEX token_family_by_gateway ON token_family (gateway_id);

-- Of each generation one token at most is ever accepted (presented_at); the others are its siblings.
CREATE TABLE refresh_token (
    hash              bytea NOT NULL CHECK (octet_length(hash) = 32),
    family_id         uuid NOT NULL REFERENCES token_family,
    generation        integer NOT NULL,
    sibling           smallint NOT NULL,
    jti               uuid NOT NULL,
    access_jti        uuid,
    kid               text NOT NULL,
    issued_at         timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    access_expires_at timestamptz,
    presented_at      timestamptz,
    superseded_at     timestamptz,
    PRIMARY KEY (family_id, generation, sibling)
) WITH (fillfactor = 80);
COMMENT ON COLUMN refresh_token.hash IS 'SHA-256 of the token''s text: the token itself is never stored';
COMMENT ON COLUMN refresh_token.superseded_at IS
    'when a successor of it, or a sibling in its place, was first presented to refresh';
CREATE UNIQUE INDEX refresh_token_by_hash ON refresh_token (hash);

CREATE TABLE restore_window (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    backup_at   timestamptz,
    restored_at timestamptz,
    CHECK ((backup_at IS NULL) = (restored_at IS NULL)),
    CHECK (backup_at <= restored_at)
);
COMMENT ON TABLE restore_window IS
    'while set, well-signed tokens that the database has forgotten and that were issued in between are let in';
INSERT INTO restore_window DEFAULT VALUES;

GRANT SELECT, INSERT, UPDATE ON signing_key, token_family TO auth_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON refresh_token TO auth_service;
GRANT SELECT, UPDATE ON restore_window TO auth_service;
GRANT DELETE ON token_family TO auth_service;

-- migrate:down
DROP TABLE restore_window, refresh_token, token_family, signing_key;
