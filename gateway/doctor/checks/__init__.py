"""The checks of `metergate doctor`, one a file."""
