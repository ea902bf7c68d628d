-- Retention: what was deleted on purpose, and up to where. Empty while everything is kept.

-- Readings of a channel before `time` are gone, and with them their verdicts; roll-ups before `rolled` are gone too.
-- `state` is what all readings before `time` left behind: judging again begins there. What `time` cuts off is not read
-- from then on, whether its rows have been deleted yet (`pending`: they have not all) or not.
CREATE TABLE horizon (
    channel INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,             -- ns, a whole UTC day
    rolled INTEGER NOT NULL,           -- ns, a whole UTC day, at most `time`
    state BLOB NOT NULL,
    pending INTEGER NOT NULL
);
CREATE INDEX horizon_pending ON horizon (channel) WHERE pending;

-- What a register had advanced in an hour before the horizon; without readings it could not be told any more.
CREATE TABLE rollup_step (
    channel INTEGER NOT NULL, start INTEGER NOT NULL, step REAL NOT NULL, PRIMARY KEY (channel, start)
) WITHOUT ROWID;

-- Each run that deleted something: when, up to where, how much, and a digest of the rows in the order of deletion.
CREATE TABLE deletion (
    id INTEGER PRIMARY KEY,
    begun_at INTEGER NOT NULL, ended_at INTEGER,
    raw_before INTEGER NOT NULL, rolled_before INTEGER NOT NULL,
    readings INTEGER NOT NULL DEFAULT 0, verdicts INTEGER NOT NULL DEFAULT 0, rollups INTEGER NOT NULL DEFAULT 0,
    first_time INTEGER, last_time INTEGER,
    digest TEXT NOT NULL DEFAULT ''
);
