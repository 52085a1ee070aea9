-- When a session was last used: one that nobody uses ends.
ALTER TABLE session ADD COLUMN seen_ms BIGINT;
-- What was answered to a request with an idempotency key, for a day; without status while it runs.
CREATE TABLE answered (
    account TEXT NOT NULL, idem TEXT NOT NULL, request TEXT NOT NULL, made_ms BIGINT NOT NULL, status BIGINT, body TEXT,
    PRIMARY KEY (account, idem)
);
CREATE INDEX answered_by_age ON answered (made_ms);
-- How fast a store fills; none: it does not, or was not watched for long enough.
ALTER TABLE store_room ADD COLUMN day_bytes BIGINT;
