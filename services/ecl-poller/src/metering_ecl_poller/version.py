"""What this connector is, said wherever it is asked."""

from importlib.metadata import version

UNVERIFIED = "unverified against the live service"
VERSION = f"metering-ecl-poller {version('metering-ecl-poller')} ({UNVERIFIED})"
