"""Metrology, pure: quantities, error model, baselines, legal limits, decisions."""
