"""Ctrl-C or SIGTERM that lets the current step finish, so that the run can write a checkpoint before it stops."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_MESSAGE = b"\nStopping after this step. Press Ctrl-C again to stop immediately.\n"
_active: Interruption | None = None


class Interruption:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.requested = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not print: a signal may arrive inside another write to the same buffer.
        os.write(2, _MESSAGE)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into `.requested = True`; the second raises KeyboardInterrupt.

    Nested uses share one object, so that stopping an inner loop stops the outer one too. Outside the main thread,
    where Python allows no signal handlers, nothing is changed and `.requested` stays False.
    """
    global _active
    if threading.current_thread() is not threading.main_thread():
        yield Interruption()
        return
    if _active is not None:
        yield _active
        return
    interruption = Interruption()
    previous = {number: signal.signal(number, interruption._handle) for number in (signal.SIGINT, signal.SIGTERM)}
    _active = interruption
    try:
        yield interruption
    finally:
        _active = None
        for number, handler in previous.items():
            # None: the handler was not installed from Python, and cannot be put back from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
