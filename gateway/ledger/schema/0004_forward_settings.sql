-- What the registry said of a channel when its roll-ups were sent: where that changes, they are sent again.
CREATE TABLE forward_settings (
    device TEXT NOT NULL, channel TEXT NOT NULL, settings TEXT NOT NULL, PRIMARY KEY (device, channel)
) WITHOUT ROWID;
