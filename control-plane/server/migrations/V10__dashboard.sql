-- `lapse_why`: the reason for which a box is not protected, or will not be. `unprotected_ms`: since when, where no deadline says so.
ALTER TABLE appliance ADD COLUMN lapse_why TEXT;
ALTER TABLE appliance ADD COLUMN unprotected_ms BIGINT;
-- Words that people put on boxes: `,till,berlin,`.
ALTER TABLE appliance ADD COLUMN tags TEXT NOT NULL DEFAULT '';
-- Judge all again.
UPDATE appliance SET protected_until_ms = NULL;
CREATE INDEX appliance_standing ON appliance (node, revoked_ms, protected_until_ms, lapse_why, unprotected_ms, enrolled_ms);
DROP INDEX appliance_listing;
CREATE INDEX appliance_listing ON appliance (
    id, node, name, firmware, heard_ms, gone_ms, gone_why, revoked_ms, flagged_ms, protected_until_ms, tags
);
-- How a site stood when a day ended, or stands today; days since 1970 in UTC.
CREATE TABLE standing_day (
    day BIGINT NOT NULL, node TEXT NOT NULL, boxes BIGINT NOT NULL, protected BIGINT NOT NULL, PRIMARY KEY (day, node)
);
-- One thing that somebody asked many boxes to do.
CREATE TABLE bulk (id TEXT PRIMARY KEY, email TEXT NOT NULL, action TEXT NOT NULL, made_ms BIGINT NOT NULL);
CREATE TABLE bulk_part (
    bulk TEXT NOT NULL, n BIGINT NOT NULL, device TEXT NOT NULL, command TEXT, refused TEXT, PRIMARY KEY (bulk, n)
);
