-- Portable: TEXT names, BIGINT Unix milliseconds, JSON as TEXT, booleans as the time at which they became true.
-- organisation, customer, site: one tree, so that a role or a policy hangs on any level. `path` holds the names from the top.
CREATE TABLE node (
    id TEXT PRIMARY KEY, parent TEXT, path TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, policy TEXT,
    made_ms BIGINT NOT NULL
);
CREATE INDEX node_by_path ON node (path);
CREATE TABLE account (
    id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, password TEXT NOT NULL, made_ms BIGINT NOT NULL
);
CREATE TABLE granted (account TEXT NOT NULL, node TEXT NOT NULL, role TEXT NOT NULL, PRIMARY KEY (account, node));
-- Only the hash of a token is kept.
CREATE TABLE session (
    token TEXT PRIMARY KEY, account TEXT NOT NULL, made_ms BIGINT NOT NULL, until_ms BIGINT NOT NULL
);
CREATE TABLE claim (
    code TEXT PRIMARY KEY, id TEXT NOT NULL, node TEXT NOT NULL, name TEXT NOT NULL, account TEXT NOT NULL,
    made_ms BIGINT NOT NULL, until_ms BIGINT NOT NULL, device TEXT, used_ms BIGINT
);
CREATE TABLE appliance (
    id TEXT PRIMARY KEY, node TEXT NOT NULL, name TEXT NOT NULL, public_key TEXT NOT NULL UNIQUE, hardware TEXT NOT NULL,
    firmware TEXT NOT NULL, enrolled_ms BIGINT NOT NULL, revoked_ms BIGINT, serial TEXT NOT NULL, until_ms BIGINT NOT NULL,
    stream TEXT, session BIGINT, born_ms BIGINT, gone_ms BIGINT, gone_why TEXT, heard_ms BIGINT, heartbeat TEXT,
    desired TEXT NOT NULL, desired_ver BIGINT NOT NULL, applied_ver BIGINT NOT NULL, recoverable_ms BIGINT,
    flagged_ms BIGINT, flag TEXT
);
CREATE INDEX appliance_by_node ON appliance (node, id);
-- Every certificate that was signed, so that every one of them can be revoked.
CREATE TABLE certificate (
    serial TEXT PRIMARY KEY, device TEXT NOT NULL, made_ms BIGINT NOT NULL, until_ms BIGINT NOT NULL, revoked_ms BIGINT
);
CREATE INDEX certificate_by_device ON certificate (device);
-- `watermark`: all facts up to this number are here. `followed_ms`: another one took its place, and it never comes back.
CREATE TABLE stream (
    device TEXT NOT NULL, id TEXT NOT NULL, born_ms BIGINT NOT NULL, received_ms BIGINT NOT NULL, watermark BIGINT NOT NULL,
    followed_ms BIGINT, PRIMARY KEY (device, id)
);
-- `seq` counts facts as they were committed: what a browser resumes from.
CREATE TABLE fact (
    device TEXT NOT NULL, stream TEXT NOT NULL, n BIGINT NOT NULL, seq BIGINT NOT NULL UNIQUE, kind TEXT NOT NULL,
    at_ms BIGINT NOT NULL, received_ms BIGINT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (device, stream, n)
);
CREATE TABLE disk (
    device TEXT NOT NULL, id TEXT NOT NULL, identity TEXT NOT NULL, bus TEXT NOT NULL, size_bytes BIGINT NOT NULL,
    seen_ms BIGINT NOT NULL, gone_ms BIGINT, PRIMARY KEY (device, id)
);
CREATE TABLE job (
    device TEXT NOT NULL, id TEXT NOT NULL, work TEXT NOT NULL, disk TEXT, state TEXT NOT NULL, begun_ms BIGINT,
    ended_ms BIGINT, result TEXT, command TEXT, PRIMARY KEY (device, id)
);
CREATE TABLE recovery_point (
    device TEXT NOT NULL, snapshot TEXT NOT NULL, disk TEXT, taken_ms BIGINT NOT NULL, state TEXT NOT NULL,
    summary TEXT NOT NULL, forgotten_ms BIGINT, PRIMARY KEY (device, snapshot)
);
CREATE TABLE command (
    id TEXT PRIMARY KEY, device TEXT NOT NULL, json TEXT NOT NULL, made_ms BIGINT NOT NULL, until_ms BIGINT NOT NULL,
    state TEXT, ended_ms BIGINT, account TEXT NOT NULL, idem TEXT NOT NULL UNIQUE
);
CREATE INDEX command_open ON command (ended_ms, device);
-- Each row holds the hash of the one before: a row that was changed or taken out breaks the chain.
CREATE TABLE audit (
    n BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, target TEXT NOT NULL,
    previous TEXT NOT NULL, hash TEXT NOT NULL
);
-- `fingerprint` names a cause; while it lasts there is one row of it without an end.
CREATE TABLE alert (
    id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, rule TEXT NOT NULL, node TEXT NOT NULL, device TEXT, disk TEXT,
    detail TEXT NOT NULL, raised_ms BIGINT NOT NULL, ended_ms BIGINT, acknowledged_ms BIGINT, acknowledged_by TEXT
);
CREATE INDEX alert_open ON alert (ended_ms, fingerprint);
CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
