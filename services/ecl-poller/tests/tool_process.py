"""metering-ecl on the emulator's time: `python tool_process.py CONTROL_URL ARGUMENTS…`.

It is the tool's own main with another clock handed to it; everything else comes from the environment as in production.
"""

import sys

from metering_ecl_poller.cli import main
from tests.emulators.ecl_portal.asked_clock import AskedClock

if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], AskedClock(sys.argv[1])))
