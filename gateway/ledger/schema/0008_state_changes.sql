-- Where states have come to since their rows were written: one entry for all channels that a batch has moved, where
-- those are many. A row of `state` holds every change of its channel up to `up_to`; whoever reads it takes the last
-- change after that. The newest entry is never deleted: ids go on from it.
CREATE TABLE state_change (id INTEGER PRIMARY KEY, states BLOB NOT NULL);
ALTER TABLE state ADD COLUMN up_to INTEGER NOT NULL DEFAULT 0;
