-- Brokers beside the first, each with boxes of its own. The first is where the config says.
CREATE TABLE cell (
    name TEXT PRIMARY KEY, host TEXT, port BIGINT, is_open BIGINT NOT NULL, made_ms BIGINT NOT NULL
);
INSERT INTO cell (name, is_open, made_ms) VALUES ('main', 1, 0);
-- Where a box belongs, and where it was heard last; one that never was is said everything in the first as well.
ALTER TABLE appliance ADD COLUMN cell TEXT NOT NULL DEFAULT 'main';
ALTER TABLE appliance ADD COLUMN heard_in TEXT NOT NULL DEFAULT 'main';
ALTER TABLE outgoing ADD COLUMN cell TEXT NOT NULL DEFAULT 'main';
-- Whether it waits already is asked before something is put there.
CREATE INDEX outgoing_by_topic ON outgoing (cell, topic);
CREATE INDEX appliance_cell ON appliance (cell, revoked_ms);
-- Nearly all, or few: those of the first cell are the others.
CREATE INDEX appliance_elsewhere ON appliance (id, heard_in) WHERE heard_in <> 'main';
