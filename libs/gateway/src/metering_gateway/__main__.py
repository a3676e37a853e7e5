"""`python -m metering_gateway`: the same as the command `metering-gateway`."""

from metering_gateway.cli import main

main()
