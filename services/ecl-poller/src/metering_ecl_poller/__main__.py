"""`python -m metering_ecl_poller`: settings, bootstrap, run."""

import sys

from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings
from metering_ecl_poller.bootstrap import build
from metering_ecl_poller.settings import PollerSettings
from metering_ecl_poller.version import VERSION


def main() -> int:
    if "--version" in sys.argv[1:]:
        sys.stdout.write(f"{VERSION}\n")
        return 0
    return serve("ecl-poller", load_settings(PollerSettings), build)


if __name__ == "__main__":
    sys.exit(main())
