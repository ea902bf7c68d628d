-- Roll-ups: what the readings of one channel in one UTC hour amount to. A cache: without it every answer is the same,
-- only slower. Made by a reader of its own, never in the transaction that takes readings.

CREATE TABLE rollup (
    channel INTEGER NOT NULL,
    start INTEGER NOT NULL,            -- the hour, ns
    revision INTEGER NOT NULL,         -- grows with every making: a cursor for those who pass roll-ups on
    piece BLOB NOT NULL,               -- gateway.history.pieces.PIECE
    PRIMARY KEY (channel, start)
) WITHOUT ROWID;
CREATE INDEX rollup_revision ON rollup (revision);

-- Hours that hold readings or verdicts which their roll-up does not; an hour may stand here more than once.
CREATE TABLE rollup_stale (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel INTEGER NOT NULL,
    start INTEGER NOT NULL
);
CREATE INDEX rollup_stale_of ON rollup_stale (channel, start);

-- reading: up to which reading.id hours have been marked stale; layout: of PIECE; revision: the last one given.
CREATE TABLE rollup_cursor (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;

-- A superseding verdict changes the worst margin of its hour, whoever writes it.
CREATE TRIGGER amendment_makes_stale AFTER INSERT ON amendment BEGIN
    INSERT INTO rollup_stale (channel, start)
    SELECT channel, time - time % 3600000000000 FROM reading WHERE id = NEW.reading;
END;
