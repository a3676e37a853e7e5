"""The emulator's virtual time as the clock of another process."""

import threading
import time
import urllib.request

import orjson

ASK_EVERY_SECONDS = 0.02


class AskedClock:
    """Virtual time as the emulator last reported it; a thread asks, so that the event loop never waits."""

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
