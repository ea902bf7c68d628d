"""Alarms, pure: conditions from verdicts and health, and the life of an alarm."""
