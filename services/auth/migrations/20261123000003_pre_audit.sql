-- migrate:up
-- The audit: every administrative act and every security event; the service's role can add and read, nothing else.
CREATE TABLE audit_event (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor   text NOT NULL,
    action  text NOT NULL,
    subject text NOT NULL,
    origin  text NOT NULL,
    before  jsonb,
    after   jsonb
);
COMMENT ON TABLE audit_event IS 'who (actor), when (at), what (action on subject), from where (origin), before and after';
CREATE INDEX audit_event_by_subject ON audit_event (subject, id);
CREATE INDEX audit_event_by_time ON audit_event (at);

GRANT SELECT, INSERT ON audit_event TO auth_service;

-- migrate:down
DROP TABLE audit_event;
