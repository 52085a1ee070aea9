-- The link with which the first account is made; there is a row until it was used. `token`: the hash of what the link holds.
CREATE TABLE setup (token TEXT PRIMARY KEY, made_ms BIGINT NOT NULL);
