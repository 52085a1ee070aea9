-- What a box says it is, whole; the newest document of its stream.
CREATE TABLE reported (
    device TEXT PRIMARY KEY, stream TEXT NOT NULL, n BIGINT NOT NULL, received_ms BIGINT NOT NULL, json TEXT NOT NULL
);
-- How disks are, as they said last.
CREATE TABLE disk_health (
    device TEXT NOT NULL, disk TEXT NOT NULL, at_ms BIGINT NOT NULL, verdict TEXT NOT NULL, smart TEXT NOT NULL,
    PRIMARY KEY (device, disk)
);
CREATE INDEX disk_health_verdict ON disk_health (verdict);
ALTER TABLE disk ADD COLUMN partitions TEXT;
