-- Sandboxes that are made ahead for sessions that there are not yet. One leaves the table when a session takes it.

CREATE TABLE spare_sandboxes (
    id         TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL
);
