-- What belongs to a workspace and does not run. Definitions are JSON as `wire` writes them, already resolved.

CREATE TABLE workspaces (
    id         TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL
);

-- The secret itself is nowhere: `hash` is its SHA-256, `prefix` is what people tell keys apart by.
CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id),
    name         TEXT,
    prefix       TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    revoked_at   BIGINT
);

CREATE INDEX api_keys_listed ON api_keys (created_at, id);

-- The row is where the present version is; every version stays in `agent_versions`.
CREATE TABLE agents (
    id           TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    version      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    archived_at  BIGINT
);

CREATE INDEX agents_listed ON agents (workspace_id, created_at, id);

CREATE TABLE agent_versions (
    agent_id   TEXT NOT NULL REFERENCES agents (id),
    version    BIGINT NOT NULL,
    definition TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, version)
);

CREATE TABLE environments (
    id           TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL,
    definition   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    archived_at  BIGINT
);

CREATE INDEX environments_listed ON environments (workspace_id, created_at, id);
