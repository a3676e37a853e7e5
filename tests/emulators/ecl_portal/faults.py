"""What goes wrong on demand: each fault strikes the requests it names, a number of times."""

from typing import Literal

import msgspec

Kind = Literal[
    "slow", "cut", "http500", "http429", "not_json", "wrong_shape", "html403", "http410", "http301", "wrong_echo"
]


class PortalFault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """`serial` and `call` absent: any. `times` counts down; absent: until faults are cleared."""

    kind: Kind
    serial: str | None = None
    call: Literal["masterData", "readings"] | None = None
    device: str | None = None
    times: int | None = None
    seconds: float = 5.0
    """Of a slow answer."""
    retry_after: int | None = None
    """Of a 429."""


class Faults:
    def __init__(self) -> None:
        self._planned: list[PortalFault] = []

    def plan(self, fault: PortalFault) -> None:
        self._planned.append(fault)

    def clear(self) -> None:
        self._planned.clear()

    def strike(self, call: str, serial: str, device: str = "") -> PortalFault | None:
        """The first fault that names this request, used up by one."""
        for fault in self._planned:
            if fault.serial in (None, serial) and fault.call in (None, call) and fault.device in (None, device):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._planned.remove(fault)
                return fault
        return None
