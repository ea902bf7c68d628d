-- What the forwarder to InfluxDB has sent, and what it must remember so that sending again makes the same points.

-- Per stream (reading amendment alarm rollup): rows up to `done` are in InfluxDB, and rows after `jumped`
-- up to `live`. Between the two lies a backlog, which is sent behind what is new.
CREATE TABLE forward_cursor (
    stream TEXT PRIMARY KEY, done INTEGER NOT NULL, jumped INTEGER NOT NULL, live INTEGER NOT NULL
) WITHOUT ROWID;

-- The tags of a channel's points from reading `since` on: a device that moves does not take its history along.
CREATE TABLE forward_series (
    channel INTEGER NOT NULL, since INTEGER NOT NULL, site TEXT NOT NULL, kind TEXT NOT NULL,
    PRIMARY KEY (channel, since)
) WITHOUT ROWID;

-- Readings of one moment: the first keeps its time, the others have a nanosecond of their own, for ever.
CREATE TABLE forward_shift (
    reading INTEGER PRIMARY KEY, channel INTEGER NOT NULL, slot INTEGER NOT NULL, UNIQUE (channel, slot)
);

-- The same for alarm events, which are few: each has its nanosecond here.
CREATE TABLE forward_alarm (event INTEGER PRIMARY KEY, series TEXT NOT NULL, slot INTEGER NOT NULL, UNIQUE (series, slot));

-- Points that InfluxDB refused, with its words.
CREATE TABLE forward_words (id INTEGER PRIMARY KEY, words TEXT NOT NULL UNIQUE);
CREATE TABLE forward_poison (
    measurement TEXT NOT NULL, id INTEGER NOT NULL, words INTEGER NOT NULL, refused_at INTEGER NOT NULL,
    PRIMARY KEY (measurement, id)
) WITHOUT ROWID;

-- Where it sends to and what it was last told.
CREATE TABLE forward_state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The order in which verdicts were superseded: what a reader with a cursor follows.
CREATE TABLE amended (id INTEGER PRIMARY KEY, reading INTEGER NOT NULL);
INSERT INTO amended (reading) SELECT reading FROM amendment ORDER BY reading, version;
CREATE TRIGGER amendment_noted AFTER INSERT ON amendment BEGIN INSERT INTO amended (reading) VALUES (new.reading); END;
