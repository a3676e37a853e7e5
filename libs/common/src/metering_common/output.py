"""What a command prints: whoever reads it, `head` for one, may have read enough before its end."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def read_enough() -> Iterator[None]:
    """Around all printing of a command: a closed pipe ends the printing and is no error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # what is left in the buffer goes nowhere, or Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
