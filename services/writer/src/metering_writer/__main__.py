"""Settings, bootstrap, run: `python -m metering_writer`, or its second program with `registers` behind it."""

import sys

from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings
from metering_writer.bootstrap import build
from metering_writer.commands import registers
from metering_writer.settings import WriterSettings


def main() -> int:
    return serve("writer", load_settings(WriterSettings), build)


if __name__ == "__main__":
    raise SystemExit(registers.main() if sys.argv[1:] == ["registers"] else main())
