-- name: take
-- Gets or renews the lease when it is free, this holder's, or past its time by the database's clock.
INSERT INTO lease (name, holder, expires_at) VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE lease.holder = excluded.holder OR lease.expires_at < clock_timestamp()
RETURNING true;

-- name: hold
-- In a transaction that only the holder may commit.
SELECT true FROM lease WHERE name = $1 AND holder = $2 AND expires_at > clock_timestamp() FOR UPDATE;

-- name: give_back
-- A holder that leaves lets the next one take over at once.
UPDATE lease SET expires_at = '-infinity' WHERE name = $1 AND holder = $2;
