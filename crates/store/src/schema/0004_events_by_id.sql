-- A client that comes back names the last event that it has: found without a look at the rest of the log.

CREATE INDEX events_by_id ON events (session_id, id);
