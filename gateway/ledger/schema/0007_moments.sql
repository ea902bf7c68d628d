-- The readings of a channel by time and by number. Not indexes of `reading`: where many channels report, each reading
-- alone would change a page of its own in each; many of few channels together change a few. Those after `placed` are
-- not here yet: whoever looks takes the views, which see them all.
CREATE TABLE moment (
    channel INTEGER NOT NULL, time INTEGER NOT NULL, reading INTEGER NOT NULL, PRIMARY KEY (channel, time, reading)
) WITHOUT ROWID;
CREATE TABLE number (
    channel INTEGER NOT NULL, seq INTEGER NOT NULL, boot TEXT NOT NULL, reading INTEGER NOT NULL,
    PRIMARY KEY (channel, seq, boot, reading)
) WITHOUT ROWID;
-- Up to which reading.id, by channel % 64: the channels of one slot are placed together.
CREATE TABLE placed (slot INTEGER PRIMARY KEY, up_to INTEGER NOT NULL);

INSERT INTO moment SELECT channel, time, id FROM reading ORDER BY channel, time, id;
INSERT INTO number SELECT channel, seq, boot, id FROM reading
    WHERE boot IS NOT NULL AND seq IS NOT NULL ORDER BY channel, seq, boot, id;
INSERT INTO placed
    WITH RECURSIVE slots (slot) AS (SELECT 0 UNION ALL SELECT slot + 1 FROM slots WHERE slot < 63)
    SELECT slot, (SELECT COALESCE(MAX(id), 0) FROM reading) FROM slots;
DROP INDEX reading_moment;
DROP INDEX reading_number;

CREATE TRIGGER reading_gone AFTER DELETE ON reading BEGIN
    DELETE FROM moment WHERE channel = OLD.channel AND time = OLD.time AND reading = OLD.id;
    DELETE FROM number WHERE channel = OLD.channel AND seq = OLD.seq AND boot = OLD.boot AND reading = OLD.id;
END;

-- What is not placed yet.
CREATE VIEW unplaced AS
    SELECT * FROM reading
    WHERE id > (SELECT MIN(up_to) FROM placed) AND id > (SELECT up_to FROM placed WHERE slot = channel % 64);

-- When a channel has readings, and which; and which have a number.
CREATE VIEW moments AS
    SELECT reading AS id, channel, time FROM moment
    UNION ALL
    SELECT id, channel, time FROM unplaced;
CREATE VIEW numbers AS
    SELECT reading AS id, channel, seq, boot FROM number
    UNION ALL
    SELECT id, channel, seq, boot FROM unplaced WHERE boot IS NOT NULL AND seq IS NOT NULL;

-- The readings themselves, to be asked for by channel and time.
CREATE VIEW by_time AS
    SELECT m.reading AS id, m.channel AS channel, m.time AS time, r.boot AS boot, r.seq AS seq, r.value AS value,
           r.reference AS reference, r.reference_u AS reference_u, r.x AS x, r.value_start AS value_start,
           r.reference_start AS reference_start, r.flow_m3h AS flow_m3h, r.current_A AS current_A,
           r.power_factor AS power_factor, r.temperature_C AS temperature_C, r.stable AS stable,
           r.evidence AS evidence, r.clock AS clock, r.standard AS standard, r.phase AS phase,
           r.direction AS direction, r.received_at AS received_at, r.late AS late, r.quality AS quality,
           r.context AS context, r.verdict AS verdict, r.seq_per_device AS seq_per_device
    FROM moment m CROSS JOIN reading r ON r.id = m.reading
    UNION ALL
    SELECT * FROM unplaced;
