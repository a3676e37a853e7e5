"""`python -m metering_prober`: the process that looks at the platform from outside."""

import sys

from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings
from metering_prober.bootstrap import build
from metering_prober.settings import ProberSettings


def main() -> int:
    """Exit status 0 after a drain, 1 after a failure."""
    return serve("prober", load_settings(ProberSettings), build)


if __name__ == "__main__":
    sys.exit(main())
