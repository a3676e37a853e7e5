"""One poller process on the emulator's time, for tests that kill it: `python replica.py CONTROL_URL`.

It is the service's own bootstrap with another clock handed to its constructor; everything else comes from the
environment as in production.
"""

import sys
from contextlib import AbstractAsyncContextManager
from functools import partial

from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings
from metering_ecl_poller.adapters.runner import Runner
from metering_ecl_poller.bootstrap import build
from metering_ecl_poller.settings import PollerSettings
from tests.emulators.ecl_portal.asked_clock import AskedClock


def main() -> int:
    clock = AskedClock(sys.argv[1])

    def build_with_clock(settings: PollerSettings) -> AbstractAsyncContextManager[Runner]:
        return partial(build, clock=clock)(settings)

    return serve("ecl-poller", load_settings(PollerSettings), build_with_clock)


if __name__ == "__main__":
    sys.exit(main())
