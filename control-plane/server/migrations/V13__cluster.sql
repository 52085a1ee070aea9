-- Several replicas on one database: what they tell each other, and which release may still work here.
CREATE TABLE compatible (step BIGINT PRIMARY KEY);
INSERT INTO compatible (step) VALUES (13);
CREATE TABLE outgoing (n BIGINT PRIMARY KEY, topic TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE nonce (nonce TEXT PRIMARY KEY, until_ms BIGINT NOT NULL);
CREATE INDEX nonce_by_age ON nonce (until_ms);
CREATE INDEX appliance_revoked ON appliance (revoked_ms);
CREATE TABLE hearing (
    name TEXT PRIMARY KEY, at_ms BIGINT NOT NULL, connected BIGINT NOT NULL, deaf_from_ms BIGINT, deaf_to_ms BIGINT
);
