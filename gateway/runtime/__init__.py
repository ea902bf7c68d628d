"""Runtime: the only place with tasks and the clock."""
