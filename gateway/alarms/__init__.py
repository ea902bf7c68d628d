"""Alarms, pure: conditions that rise and fall in event time, and the life of an alarm that a person handles.

`conditions`  the machine's side: one condition per (channel, kind), a value in the channel's state
`life`        the person's side: raised -> acknowledged -> cleared, or shelved
"""
