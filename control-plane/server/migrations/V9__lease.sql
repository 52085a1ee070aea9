-- Who does what only one may do, and until when unless it says so again.
CREATE TABLE lease (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_ms BIGINT NOT NULL);
