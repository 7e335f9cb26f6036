"""Where a step's time went besides computing: waiting for data, for other ranks, for bytes between them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Kind = Literal["data", "waiting", "communication"]


class Meter:
    """Seconds of this process by kind, since it began."""

    def __init__(self) -> None:
        self.seconds: dict[Kind, float] = {"data": 0.0, "waiting": 0.0, "communication": 0.0}
        self._marked = dict(self.seconds)
        self._at = time.monotonic()

    def since(self) -> dict[str, float]:
        """Seconds since the last call, and what share of them went to each kind."""
        now = time.monotonic()
        seconds, self._at = max(now - self._at, 1e-9), now
        shares: dict[str, float] = {"seconds": round(seconds, 4)}
        for kind, spent in self.seconds.items():
            shares[kind] = round((spent - self._marked[kind]) / seconds, 4)
        self._marked = dict(self.seconds)
        return shares


METER = Meter()


@contextmanager
def metered(kind: Kind) -> Iterator[None]:
    """Count the time inside as one of `kind`."""
    began = time.monotonic()
    try:
        yield
    finally:
        METER.seconds[kind] += time.monotonic() - began
