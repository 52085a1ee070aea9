-- Until when a box is protected if nothing more happens; 0: it is not; null: nobody has judged it yet.
ALTER TABLE appliance ADD COLUMN protected_until_ms BIGINT;
-- All that a list is filtered and sorted by, without the documents beside it: 100,000 boxes are some 15 MB to look through.
CREATE INDEX appliance_listing ON appliance (
    id, node, name, firmware, heard_ms, gone_ms, gone_why, revoked_ms, flagged_ms, protected_until_ms
);
