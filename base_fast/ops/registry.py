"""How an op enters PyTorch's dispatcher.

Each op is defined once under `torch.ops.base_fast`, with its reference as the composite kernel: differentiable any
number of times, traceable by torch.compile, right on every device. A compiled kernel registers under its own dispatch
key and then takes precedence there; `backends()` says which one serves which device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_LIBRARY = torch.library.Library("base_fast", "DEF")
_OPS: list[str] = []


def define(schema: str, reference: Callable[..., Any]) -> Callable[..., Any]:
    """Define `torch.ops.base_fast.<name>` from `schema` = "name(...) -> ..." and return it."""
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, reference, "CompositeImplicitAutograd")
    _OPS.append(name)
    op: Callable[..., Any] = getattr(torch.ops.base_fast, name)
    return op


def backends() -> dict[str, dict[str, str]]:
    """Which kernel serves which op on which device: `{op: {"cpu": ..., "cuda": ...}}`, read off the dispatcher."""
    served: dict[str, dict[str, str]] = {}
    for name in sorted(_OPS):
        served[name] = {}
        for device, dispatch_key in (("cpu", "CPU"), ("cuda", "CUDA")):
            compiled = torch._C._dispatch_has_kernel_for_dispatch_key(f"base_fast::{name}", dispatch_key)
            served[name][device] = "compiled" if compiled else "reference (no compiled kernel is registered)"
    return served
