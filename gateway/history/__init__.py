"""Histories: one query over the places where readings are kept."""
