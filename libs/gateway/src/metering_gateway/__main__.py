"""`python -m metering_gateway`: the same as the command `metering-gateway`."""

import sys

from metering_gateway.cli import main

sys.exit(main())
