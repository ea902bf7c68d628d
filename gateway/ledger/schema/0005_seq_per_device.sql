-- 1: `seq` counts the readings of all channels of the device, so its gaps are none of this channel. NULL: of the channel.
ALTER TABLE reading ADD COLUMN seq_per_device INTEGER;
CREATE INDEX reading_counted ON reading (channel, time) WHERE seq_per_device;
