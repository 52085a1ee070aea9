-- Room in the stores of boxes: how it is now, and when it will be gone if it goes on like this. `disk` is empty for the box's own.
CREATE TABLE store_room (
    device TEXT NOT NULL, disk TEXT NOT NULL, at_ms BIGINT NOT NULL, level TEXT NOT NULL, size_bytes BIGINT NOT NULL,
    free_bytes BIGINT NOT NULL, full_ms BIGINT, PRIMARY KEY (device, disk)
);
CREATE INDEX store_room_full ON store_room (full_ms);
-- One sample an hour at most, kept as long as the forecast looks back.
CREATE TABLE room_sample (
    device TEXT NOT NULL, disk TEXT NOT NULL, hour BIGINT NOT NULL, at_ms BIGINT NOT NULL, used_bytes BIGINT NOT NULL,
    PRIMARY KEY (device, disk, hour)
);
