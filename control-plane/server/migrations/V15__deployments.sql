-- What became of each release that was put here: for the dashboard of whoever deploys.
CREATE TABLE deployment (
    n BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL, build TEXT NOT NULL, before TEXT, outcome TEXT NOT NULL, forward_ms BIGINT NOT NULL,
    back_ms BIGINT
);
