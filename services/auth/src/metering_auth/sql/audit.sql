-- name: record_event
-- One act or security event; the database says when, and by which of its roles.
INSERT INTO audit_event (actor, action, subject, origin, before, after) VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb);

-- name: record_events
-- Many acts of one kind of one actor: parallel arrays of subjects, before and after.
INSERT INTO audit_event (actor, action, subject, origin, before, after)
SELECT $1, $2, act.subject, $3, act.before::jsonb, act.after::jsonb
FROM unnest($4::text[], $5::text[], $6::text[]) AS act (subject, before, after);

-- name: events
-- The newest events that match; an absent condition does not restrict, an action may end in % for a prefix.
SELECT id, at, actor, database_role, action, subject, origin, before, after
FROM audit_event
WHERE ($1::text IS NULL OR actor = $1)
    AND ($2::text IS NULL OR action LIKE $2)
    AND ($3::text IS NULL OR subject = $3)
    AND ($4::timestamptz IS NULL OR at >= $4)
    AND ($5::timestamptz IS NULL OR at < $5)
ORDER BY id DESC
LIMIT $6;
