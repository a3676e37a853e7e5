"""Persistence: judged records into TimescaleDB, each exactly once."""
