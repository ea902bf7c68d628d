"""Metergate: continuous verification for networked measuring instruments."""

__version__ = "0.1.0"
