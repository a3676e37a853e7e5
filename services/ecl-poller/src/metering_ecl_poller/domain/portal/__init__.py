"""A client library for the ECL Portal's web API, unverified against the live service."""
