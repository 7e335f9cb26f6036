"""A run whose rank 1 is killed, once, in the middle: what torchrun's elastic restart makes of it.

torchrun --max-restarts 1 --nproc-per-node 2 -m -- tests.engine.restart meta-train --config ... --run ...
"""

from __future__ import annotations

import os
import signal
import sys

import base_fast.meta.trainer
from base_fast.cli import main

AT = 10


def dying() -> None:
    """Let the task number AT of this process be its last one."""
    real, calls = base_fast.meta.trainer.task_gradient, [0]

    def last(*arguments: object) -> object:
        calls[0] += 1
        if calls[0] == AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)  # type: ignore[arg-type]

    base_fast.meta.trainer.task_gradient = last  # type: ignore[assignment]


if __name__ == "__main__":
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1":
        dying()
    sys.exit(main(sys.argv[1:]))
