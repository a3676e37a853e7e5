"""One poller process on the emulator's time, for tests that kill it: `python replica.py CONTROL_URL`.

It is the service's own bootstrap with another clock handed to its constructor; everything else comes from the
environment as in production.
"""

import sys
import threading
import time
import urllib.request
from contextlib import AbstractAsyncContextManager
from functools import partial

import orjson

from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings
from metering_ecl_poller.adapters.runner import Runner
from metering_ecl_poller.bootstrap import build
from metering_ecl_poller.settings import PollerSettings

ASK_EVERY_SECONDS = 0.02


class AskedClock:
    """Virtual time as the emulator last told it; a thread asks, so that the event loop never waits."""

    def __init__(self, control_url: str) -> None:
        self._url = f"{control_url}/clock"
        self._now_ms = self._ask()
        threading.Thread(target=self._follow, daemon=True).start()

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return time.monotonic()

    def _follow(self) -> None:
        while True:
            time.sleep(ASK_EVERY_SECONDS)
            try:
                self._now_ms = self._ask()
            except OSError:
                return

    def _ask(self) -> int:
        with urllib.request.urlopen(self._url, timeout=5) as answer:
            return int(orjson.loads(answer.read())["nowMs"])


def main() -> int:
    clock = AskedClock(sys.argv[1])

    def build_with_clock(settings: PollerSettings) -> AbstractAsyncContextManager[Runner]:
        return partial(build, clock=clock)(settings)

    return serve("ecl-poller", load_settings(PollerSettings), build_with_clock)


if __name__ == "__main__":
    sys.exit(main())
