-- Times are microseconds since 1970, costs are billionths of a US dollar, structures are JSON.

CREATE TABLE instances (
    id          TEXT PRIMARY KEY,
    boot_id     TEXT NOT NULL,
    pid         BIGINT NOT NULL,
    started_at  BIGINT NOT NULL
);

CREATE TABLE sessions (
    id              TEXT PRIMARY KEY,
    status          TEXT NOT NULL,
    title           TEXT,
    workspace_path  BLOB,
    model           TEXT NOT NULL,
    limits          TEXT NOT NULL,
    egress_rules    TEXT NOT NULL,
    settings        TEXT NOT NULL,
    sandbox_id      TEXT,
    view_started_at BIGINT,
    instance_id     TEXT NOT NULL,
    epoch           BIGINT NOT NULL,
    last_seq        BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);

CREATE INDEX sessions_busy ON sessions (status) WHERE status <> 'idle' AND status <> 'terminated';

CREATE TABLE events (
    session_id   TEXT NOT NULL REFERENCES sessions (id),
    seq          BIGINT NOT NULL,
    id           TEXT NOT NULL,
    type         TEXT NOT NULL,
    body         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    processed_at BIGINT,
    PRIMARY KEY (session_id, seq)
);

CREATE INDEX events_queued ON events (session_id, seq) WHERE processed_at IS NULL;

-- The last output line of a guest's process that was accepted.
CREATE TABLE runtime_lines (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    process    TEXT NOT NULL,
    last_line  BIGINT NOT NULL,
    PRIMARY KEY (session_id, process)
);

CREATE TABLE sandboxes (
    id          TEXT PRIMARY KEY,
    session_id  TEXT NOT NULL REFERENCES sessions (id),
    instance_id TEXT NOT NULL,
    state       TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

CREATE INDEX sandboxes_of_session ON sandboxes (session_id);
CREATE INDEX sandboxes_alive ON sandboxes (state) WHERE state <> 'destroyed';

-- `outcome` is `open` from before the upstream is asked until the end is known; `cut` if the instance died first.
CREATE TABLE model_calls (
    id                             INTEGER PRIMARY KEY,
    session_id                     TEXT NOT NULL REFERENCES sessions (id),
    instance_id                    TEXT NOT NULL,
    model                          TEXT NOT NULL,
    outcome                        TEXT NOT NULL,
    status                         BIGINT,
    streamed                       BIGINT NOT NULL,
    request_bytes                  BIGINT NOT NULL,
    input_tokens                   BIGINT NOT NULL DEFAULT 0,
    output_tokens                  BIGINT NOT NULL DEFAULT 0,
    cache_read_input_tokens        BIGINT NOT NULL DEFAULT 0,
    cache_creation_5m_input_tokens BIGINT NOT NULL DEFAULT 0,
    cache_creation_1h_input_tokens BIGINT NOT NULL DEFAULT 0,
    web_search_requests            BIGINT NOT NULL DEFAULT 0,
    estimated                      BIGINT NOT NULL DEFAULT 0,
    cost_nano_usd                  BIGINT,
    attempts                       BIGINT NOT NULL DEFAULT 0,
    request_id                     TEXT,
    first_byte_micros              BIGINT,
    duration_micros                BIGINT,
    opened_at                      BIGINT NOT NULL,
    closed_at                      BIGINT
);

CREATE INDEX model_calls_of_session ON model_calls (session_id);
CREATE INDEX model_calls_open ON model_calls (instance_id) WHERE outcome = 'open';

CREATE TABLE egress_audit (
    session_id TEXT NOT NULL REFERENCES sessions (id),
    seq        BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    protocol   TEXT NOT NULL,
    host       TEXT NOT NULL,
    port       BIGINT NOT NULL,
    allowed    BIGINT NOT NULL,
    rule       TEXT,
    detail     TEXT,
    PRIMARY KEY (session_id, seq)
);
