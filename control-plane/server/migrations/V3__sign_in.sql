-- A second factor: the otpauth URL with its secret, since when it counts, and the last time step that was used: each counts once.
ALTER TABLE account ADD COLUMN factor TEXT;
ALTER TABLE account ADD COLUMN factor_ms BIGINT;
ALTER TABLE account ADD COLUMN factor_step BIGINT;
-- Only hashes. Each counts once.
CREATE TABLE recovery_code (account TEXT NOT NULL, code TEXT NOT NULL, used_ms BIGINT, PRIMARY KEY (account, code));
-- Whoever is signed in signs in anew. `proven_ms`: when who sits there last proved who he is.
DROP TABLE session;
CREATE TABLE session (
    token TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, agent TEXT NOT NULL, made_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL, proven_ms BIGINT NOT NULL
);
CREATE INDEX session_by_account ON session (account);
-- Tokens for programs: what their account may, at most `role`, at `node` and below.
CREATE TABLE api_token (
    token TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
    node TEXT NOT NULL, made_ms BIGINT NOT NULL, until_ms BIGINT NOT NULL, used_ms BIGINT
);
CREATE INDEX api_token_by_account ON api_token (account);
