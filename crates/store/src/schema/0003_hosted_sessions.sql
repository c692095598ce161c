-- Sessions of the API: whose they are, what they were made from, and what the API alone keeps of them as JSON. `turn`
-- is what an owner must know to go on with the turn that is under way.

ALTER TABLE sessions ADD COLUMN workspace_id TEXT;
ALTER TABLE sessions ADD COLUMN agent_id TEXT;
ALTER TABLE sessions ADD COLUMN agent_version BIGINT;
ALTER TABLE sessions ADD COLUMN environment_id TEXT;
ALTER TABLE sessions ADD COLUMN resource TEXT;
ALTER TABLE sessions ADD COLUMN archived_at BIGINT;
ALTER TABLE sessions ADD COLUMN turn TEXT;

CREATE INDEX sessions_listed ON sessions (workspace_id, created_at, id);
CREATE INDEX sessions_of_environment ON sessions (environment_id) WHERE environment_id IS NOT NULL;

-- The sandbox's model key, so that the next server can serve it.
ALTER TABLE sandboxes ADD COLUMN token TEXT;

CREATE INDEX events_of_type ON events (session_id, type, seq);
