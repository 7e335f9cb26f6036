"""What a call needs in memory: its peak, and what it keeps for the backward pass.

The peak comes from the profiler's record of every allocation and release that goes through PyTorch's allocator. Scratch
space that a library takes from the system by itself is not seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch._C._profiler import _EventType
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import Run


@dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
        extra: the peak above what was there before the call, less the gradients returned (every user keeps those).
        saved: distinct storages kept for backward, the inputs' among them.
        saved_beyond: the same without the inputs' storages.
        activations: `saved` without the parameters of modules: what grows with the batch.
    """

    extra: int
    saved: int
    saved_beyond: int
    activations: int = 0


def measure(setup: Any, run: Run) -> Memory:
    """Of two calls of `run`; `setup` holds its inputs."""
    return Memory(extra_bytes(run), *saved_bytes(setup, run))


def extra_bytes(run: Run) -> int:
    """The peak of allocations less releases during a call; the gradients returned are left out of the account."""
    with _silent(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = run()
    changes = sorted(_changes(record.profiler.kineto_results.experimental_event_tree()))
    # An address may be given out several times: a gradient is what was put there last.
    last = {address: i for i, (_, address, change) in enumerate(changes) if change > 0}
    kept = {last[address] for address in _gradient_addresses(result) if address in last}
    live = peak = 0
    for i, (_, _, change) in enumerate(changes):
        if i not in kept:
            live += change
            peak = max(peak, live)
    return peak


@contextmanager
def _silent() -> Iterator[None]:
    """Without standard error, to which the profiler's library reports its starts, stops and the lack of a GPU."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _changes(events: Iterable[Any]) -> Iterator[tuple[int, int, int]]:
    """Time, address and bytes (negative: released) of every change in a tree of events."""
    for event in events:
        if event.tag == _EventType.Allocation:
            yield event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size
        yield from _changes(event.children)


def _gradient_addresses(result: Any) -> set[int]:
    named = result.items() if isinstance(result, dict) else ()
    return {x.untyped_storage().data_ptr() for name, x in named if name.startswith("grad ")}


def saved_bytes(setup: Any, run: Run) -> tuple[int, int, int]:
    """Bytes of distinct storages saved for backward: all of them, those that are no input's, and no parameter's."""
    inputs = {x.untyped_storage().data_ptr() for x in tensors_in(setup)}
    parameters = {x.untyped_storage().data_ptr() for x in tensors_in(setup) if isinstance(x, torch.nn.Parameter)}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(x: Tensor) -> Tensor:
        # Holding the storage keeps its address from being given to another one.
        storage = x.untyped_storage()
        storages[storage.data_ptr()] = storage
        base = x if x._base is None else x._base
        if base.is_leaf and base.requires_grad:
            # A parameter that a contender holds by itself.
            inputs.add(storage.data_ptr())
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        run()

    def total(without: AbstractSet[int]) -> int:
        return sum(storage.nbytes() for address, storage in storages.items() if address not in without)

    return total(frozenset()), total(inputs), total(parameters)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in a tree of dataclasses, mappings, sequences and modules."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, torch.nn.Module):
        yield from value.parameters()
        yield from value.buffers()
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
