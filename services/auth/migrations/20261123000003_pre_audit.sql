-- migrate:up
-- The audit: every administrative act and every security event; the service's role can add and read, nothing else.
CREATE TABLE audit_event (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor   text NOT NULL,
    database_role text NOT NULL DEFAULT session_user,
    action  text NOT NULL,
    subject text NOT NULL,
    origin  text NOT NULL,
    before  jsonb,
    after   jsonb
);
COMMENT ON TABLE audit_event IS 'who (actor), when (at), what (action on subject), from where (origin), before and after';
COMMENT ON COLUMN audit_event.actor IS 'an operator by the name that was given, a gateway, or the schedule';
COMMENT ON COLUMN audit_event.database_role IS 'the login that PostgreSQL itself saw';
CREATE INDEX audit_event_by_subject ON audit_event (subject, id);
CREATE INDEX audit_event_by_time ON audit_event (at);

-- The time and the role are the database's own words: nobody may give them.
GRANT SELECT, INSERT (actor, action, subject, origin, before, after) ON audit_event TO auth_service;

-- migrate:down
DROP TABLE audit_event;
