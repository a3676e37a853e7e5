"""The version of this connector, with the word *unverified*."""

from importlib.metadata import version

UNVERIFIED = "unverified against the live service"
VERSION = f"metering-ecl-poller {version('metering-ecl-poller')} ({UNVERIFIED})"
