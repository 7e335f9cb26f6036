"""Ctrl-C or SIGTERM that lets the current step finish, so that the run can write a checkpoint before it stops."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from base_fast.engine import abandoned, ask_to_stop, current

_MESSAGE = b"\nStopping after this step. Press Ctrl-C again to stop immediately.\n"
_HURRIED = b"\nStopping as soon as possible, with the state saved.\n"
# A launcher passes on a signal that the terminal has sent to its processes already.
SECONDS_OF_ECHO = 5.0
_active: Interruption | None = None


class Interruption:
    """Whether somebody asked the run to stop, and whether there is no time to finish the step under way."""

    def __init__(self) -> None:
        self._asked: float | None = None
        self.hurried = False

    @property
    def requested(self) -> bool:
        """Here, or on another rank of the run."""
        return self._asked is not None or abandoned()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        several = ask_to_stop()
        if self._asked is not None:
            if several and time.monotonic() - self._asked < SECONDS_OF_ECHO:
                return
            raise KeyboardInterrupt
        self._asked = time.monotonic()
        # Whoever sends SIGTERM, as a cluster does, sends SIGKILL soon after; and ranks do not wait for one another.
        self.hurried = several or number == signal.SIGTERM
        # Not print: a signal may arrive inside another write to the same buffer.
        if not (several and current().rank > 0):
            os.write(2, _HURRIED if self.hurried else _MESSAGE)


def to_be_left() -> bool:
    """Whether a long step should raise Interrupted now: its state so far is lost, and the one before it is saved."""
    return abandoned() or (_active is not None and _active.hurried)


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
