-- Logs that somebody asked a box for. The text lies in the folder `logs`, under `id`; of the token, which the box shows, only the hash
-- is kept.
CREATE TABLE log_request (
    id TEXT PRIMARY KEY, device TEXT NOT NULL, token TEXT NOT NULL UNIQUE, asked_ms BIGINT NOT NULL, asked_by TEXT NOT NULL,
    until_ms BIGINT NOT NULL, got_ms BIGINT, bytes BIGINT
);
CREATE INDEX log_request_by_device ON log_request (device, asked_ms);
