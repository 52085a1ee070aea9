-- A release on its way through the fleet. What happened in it is its log, and nothing else is kept of it but what was said last.
CREATE TABLE rollout (
    id TEXT PRIMARY KEY, release_name TEXT NOT NULL, policy TEXT NOT NULL, salt TEXT NOT NULL, made_ms BIGINT NOT NULL,
    made_by TEXT NOT NULL, ended_ms BIGINT, said TEXT NOT NULL DEFAULT '[]'
);
-- `n` counts from 1 without a gap: of two that decide at once only one can write.
CREATE TABLE rollout_log (
    rollout TEXT NOT NULL, n BIGINT NOT NULL, at_ms BIGINT NOT NULL, event TEXT NOT NULL, PRIMARY KEY (rollout, n)
);
-- Hardware has a number, by which strata are kept.
CREATE TABLE hardware (n BIGINT PRIMARY KEY, model TEXT NOT NULL UNIQUE);
-- The token of the release that the desired document offers.
ALTER TABLE appliance ADD COLUMN offered TEXT;
-- A rollout looks at every box every few seconds, and not at the documents beside these.
CREATE INDEX appliance_target ON appliance (id, hardware, offered);
CREATE INDEX reported_received ON reported (received_ms);
CREATE INDEX job_by_end ON job (ended_ms);
