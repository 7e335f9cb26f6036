"""torch.compile as an opponent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

F = TypeVar("F", bound=Callable[..., object])


def compiled(formula: F) -> F:
    """`formula` through inductor, whole and for these shapes; compiled at its first call."""
    import torch._inductor.config as inductor

    # In this process: worker processes would outlive the time limit of a first call.
    inductor.compile_threads = 1
    return torch.compile(formula, fullgraph=True, dynamic=False)
