-- Ways on which alerts are told, from a node of the tree downwards. `failing_ms`: since when nothing arrives there, and why.
CREATE TABLE alert_route (
    id TEXT PRIMARY KEY, node TEXT NOT NULL, channel TEXT NOT NULL, target TEXT NOT NULL, secret TEXT, rules TEXT NOT NULL,
    made_ms BIGINT NOT NULL, made_by TEXT NOT NULL, told_ms BIGINT, failing_ms BIGINT, error TEXT
);
-- What one route tells at once, whole and fixed when it is made: every try says the same.
CREATE TABLE notice (
    id TEXT PRIMARY KEY, route TEXT NOT NULL, message TEXT NOT NULL, made_ms BIGINT NOT NULL, due_ms BIGINT NOT NULL,
    tries BIGINT NOT NULL, ended_ms BIGINT
);
CREATE INDEX notice_open ON notice (ended_ms, route);
-- Which alert was told on which route, in the transaction that makes the notice.
CREATE TABLE notice_of (
    alert TEXT NOT NULL, route TEXT NOT NULL, event TEXT NOT NULL, at_ms BIGINT NOT NULL, notice TEXT NOT NULL,
    PRIMARY KEY (alert, route, notice)
);
CREATE INDEX notice_of_notice ON notice_of (notice);
-- Quiet on a node and below, for one rule or all, for one box or all.
CREATE TABLE silence (
    id TEXT PRIMARY KEY, node TEXT NOT NULL, rule TEXT, device TEXT, reason TEXT NOT NULL, made_ms BIGINT NOT NULL,
    made_by TEXT NOT NULL, until_ms BIGINT NOT NULL
);
