-- The ledger: what was received, what it was judged to be, and who did what. Rows are added; nothing metrological is
-- overwritten. Times are integer nanoseconds since 1970-01-01T00:00Z. Absent facts are NULL.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The registry as applied: every version of every document, the newest of each (kind, id) holds.
CREATE TABLE registry (
    version INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,               -- device certificate event
    id TEXT NOT NULL,
    document BLOB NOT NULL,           -- canonical JSON
    applied_at INTEGER NOT NULL
);
CREATE INDEX registry_entry ON registry (kind, id, version);

-- Chart limits designed from the false-alarm budget; each holds from `since` until the next design.
CREATE TABLE designed (
    device TEXT NOT NULL, channel TEXT NOT NULL, since INTEGER NOT NULL, settings TEXT NOT NULL,
    PRIMARY KEY (device, channel, since)
) WITHOUT ROWID;

CREATE TABLE channel (
    id INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    channel TEXT NOT NULL,
    UNIQUE (device, channel)
);

-- What a verdict hangs on, once per distinct combination: unit, baseline, rule pack, settings, software, segment.
CREATE TABLE context (id INTEGER PRIMARY KEY, document TEXT NOT NULL UNIQUE);

-- How the numbers of a verdict are packed, once per layout (numpy dtype description as JSON).
CREATE TABLE layout (id INTEGER PRIMARY KEY, description TEXT NOT NULL UNIQUE);

-- Every stored reading in the order of arrival, in its channel's unit, with its first verdict if it is a check.
CREATE TABLE reading (
    id INTEGER PRIMARY KEY,
    channel INTEGER NOT NULL,
    time INTEGER NOT NULL,
    boot TEXT,
    seq INTEGER,
    value REAL NOT NULL,
    reference REAL, reference_u REAL, x REAL, value_start REAL, reference_start REAL,
    flow_m3h REAL, current_A REAL, power_factor REAL, temperature_C REAL,
    stable INTEGER, evidence INTEGER, clock INTEGER NOT NULL,
    standard TEXT, phase TEXT, direction TEXT,
    received_at INTEGER NOT NULL,
    late INTEGER NOT NULL,             -- 1: late, 2: beyond the lateness horizon, never charted
    quality INTEGER NOT NULL,
    context INTEGER,
    verdict BLOB
);
CREATE INDEX reading_moment ON reading (channel, time);
CREATE INDEX reading_number ON reading (channel, seq, boot) WHERE boot IS NOT NULL AND seq IS NOT NULL;

-- Superseding verdicts: late data, a back-dated certificate, a changed device. The highest version holds.
CREATE TABLE amendment (
    reading INTEGER NOT NULL, version INTEGER NOT NULL,
    context INTEGER NOT NULL, verdict BLOB NOT NULL, supersedes TEXT NOT NULL, recorded_at INTEGER NOT NULL,
    PRIMARY KEY (reading, version)
) WITHOUT ROWID;

-- Where each channel stands, committed with the readings that brought it there.
CREATE TABLE state (
    channel INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,        -- of the plan it was judged by
    newest INTEGER NOT NULL, seen_boot INTEGER NOT NULL, seen_seq INTEGER NOT NULL,
    state BLOB NOT NULL
);

-- Earlier states, so that late data re-runs a stretch and not a life. A cache: made again when it is stale.
CREATE TABLE checkpoint (
    channel INTEGER NOT NULL, time INTEGER NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (channel, time)
) WITHOUT ROWID;

CREATE TABLE alarm (
    id TEXT PRIMARY KEY,
    site TEXT, device TEXT, channel TEXT,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    raised_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    cleared_at INTEGER,
    evidence TEXT NOT NULL,
    text TEXT NOT NULL,
    reason TEXT,
    acknowledged_at INTEGER, acknowledged_by TEXT, acknowledged_reason TEXT,
    shelved_until INTEGER, shelved_by TEXT, shelved_reason TEXT
) WITHOUT ROWID;
CREATE INDEX alarm_open ON alarm (device, channel, kind) WHERE cleared_at IS NULL;

CREATE TABLE alarm_event (id INTEGER PRIMARY KEY, alarm TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX alarm_event_of ON alarm_event (alarm, id);

CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    received_at INTEGER NOT NULL,
    topic TEXT, reason TEXT NOT NULL, detail TEXT NOT NULL, device TEXT, channel TEXT,
    record INTEGER, payload BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'open',   -- open approved released rejected
    decided_at INTEGER, decided_by TEXT
);
CREATE INDEX quarantine_state ON quarantine (state, id);

CREATE TABLE counter (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
