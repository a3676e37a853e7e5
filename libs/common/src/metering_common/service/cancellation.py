"""Tells a task's own end from a client's: some background work of a service must survive the second."""

import asyncio


def is_asked_to_end(error: BaseException) -> bool:
    """Whether somebody ends the current task.

    A client that is cut short may let a future of its own be cancelled, and who awaits that one sees the same error
    (seen with aiokafka 0.14 whose loop had been blocked for seconds at its start).
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
