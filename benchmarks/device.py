"""A set-up on another device, and time as that device counts it."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.case import Run


def on_device(value: Any, device: str) -> Any:
    """Dataclasses, lists and modules, copied to `device`; leaves stay leaves. On the CPU, what was given."""
    if device == "cpu":
        return value
    if isinstance(value, Tensor):
        return value.detach().to(device).requires_grad_(value.requires_grad)
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(device)
    if isinstance(value, list):
        return [on_device(item, device) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: on_device(getattr(value, f.name), device) for f in fields(value)})
    return value


def cuda_events(run: Run, calls: int) -> float:
    """Seconds per call between two events on the current stream."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(calls):
        run()
    last.record()
    last.synchronize()
    return first.elapsed_time(last) / 1e3 / calls
