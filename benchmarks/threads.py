"""A contender on a single thread, to see what the others bring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.case import Absent, Run


def on_one_thread(build: Callable[[Any], Run]) -> Callable[[Any], Run]:
    """`build`, its calls on one thread; absent where all of them are."""

    def built(setup: Any) -> Run:
        if torch.get_num_threads() == 1:
            raise Absent("there is but one thread")
        run = build(setup)

        def call() -> Any:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                return run()
            finally:
                torch.set_num_threads(threads)

        return call

    return built
