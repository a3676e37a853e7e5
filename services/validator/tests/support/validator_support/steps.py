"""Counts the work of a validation in steps that do not depend on the machine: instructions of its Python code.

What the decoders of msgspec and json do is not in it: it grows with the bytes of an element, which ingest-api bounds.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

OURS = "metering_validator"


def steps_of(work: Callable[[], object]) -> int:
    """Returns how many instructions of the validator's own modules `work` executes."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if event == "call":
            if OURS not in frame.f_code.co_filename:
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
