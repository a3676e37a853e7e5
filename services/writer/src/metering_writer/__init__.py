"""Persistence: validated records into TimescaleDB, each exactly once."""
