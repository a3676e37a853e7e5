"""Settings, bootstrap, run: `python -m metering_writer`."""

from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings
from metering_writer.bootstrap import build
from metering_writer.settings import WriterSettings


def main() -> int:
    return serve("writer", load_settings(WriterSettings), build)


if __name__ == "__main__":
    raise SystemExit(main())
