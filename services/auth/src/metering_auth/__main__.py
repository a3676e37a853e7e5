"""Settings, bootstrap, run: the service `auth`, which gateways refresh their tokens at."""

import sys

from metering_auth.bootstrap import build
from metering_auth.settings import AuthSettings
from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings


def main() -> int:
    return serve("auth", load_settings(AuthSettings), build)


if __name__ == "__main__":
    sys.exit(main())
