"""One file per command; the package is walked, so adding a command is adding a file."""
