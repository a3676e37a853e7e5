"""`python -m metering_validator`: the process that validates."""

import sys

from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings
from metering_validator.bootstrap import build
from metering_validator.settings import Settings


def main() -> int:
    """Exit status 0 after a drain, 1 after a failure, 70 when it had to end with a batch in flight."""
    return serve("validator", load_settings(Settings), build)


if __name__ == "__main__":
    sys.exit(main())
