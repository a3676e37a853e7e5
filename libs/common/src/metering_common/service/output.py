"""What a command prints: whoever reads it, `head` for one, may have read enough before its end."""

import os
import sys
from types import TracebackType


class Printing:
    """Around all printing of a command: a closed pipe ends it and is no error."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            if error is None:
                sys.stdout.flush()
        except BrokenPipeError as closed:
            error = closed
        if not isinstance(error, BrokenPipeError):
            return False
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left, or Python would complain
        return True
