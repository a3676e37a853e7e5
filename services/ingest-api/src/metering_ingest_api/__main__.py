"""`python -m metering_ingest_api`: settings, bootstrap, run."""

import sys

from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings
from metering_ingest_api.bootstrap import NAME, build
from metering_ingest_api.settings import IngestSettings


def main() -> int:
    return serve(NAME, load_settings(IngestSettings), build)


if __name__ == "__main__":
    sys.exit(main())
