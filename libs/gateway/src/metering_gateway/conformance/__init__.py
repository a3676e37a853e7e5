"""A small platform to test a gateway against: it behaves as the published API does, and fails on command."""

from metering_gateway.conformance.faults import Fault, Faults, no_faults, random_faults, scripted
from metering_gateway.conformance.platform import Platform, running
from metering_gateway.conformance.token_family import TokenFamily

__all__ = ["Fault", "Faults", "Platform", "TokenFamily", "no_faults", "random_faults", "running", "scripted"]
