"""The key that a layer carries: each training pass takes the next blocks of its noise stream."""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.random import advance

# GPUs of a process, at most.
_REPLICAS = 1024


def blocks_of(count: int) -> int:
    """Philox blocks, of four words each, that `count` noise elements take."""
    return (count + 3) // 4


def ahead(key: Tensor, count: int) -> Tensor:
    """The key whose noise follows the first `count` elements of `key`, from the next block on."""
    following = key.clone()
    following[1:].add_(blocks_of(count))
    return following


def next_key(key: Tensor, blocks: int, replica: int = 0) -> Tensor:
    """A copy of `key`, which then moves on by `blocks` in place; in another process, or a replica, of another stream.

    Processes hold the same key, for DistributedDataParallel copies buffers from the first before every pass; so what
    each draws with follows from its rank. The first process and replica 0 draw what a single one does.

    Raises:
        InputError: inside a backward pass, where only activation checkpointing runs a layer: the key it drew with has
            moved on, and other noise would give gradients of another function.
    """
    # As an op, torch.compile keeps it whole, and the check runs whenever the compiled layer does.
    used: Tensor = _op(key, blocks, replica) if torch.compiler.is_compiling() else _take(key, blocks, replica)
    return used


def _take(key: Tensor, blocks: int, replica: int) -> Tensor:
    if torch._C._current_graph_task_id() != -1:
        raise InputError(
            "key: got None in a recomputation by activation checkpointing, expected the key of the first run; pass "
            "`key`, or context_fn=lambda: (bf.nn.sampled(block, key), bf.nn.sampled(block, key)) to the checkpoint"
        )
    used = key.clone()
    key[1:].add_(blocks)
    rank = (
        torch.distributed.get_rank() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
    )
    return advance(used, rank * _REPLICAS + replica) if rank or replica else used


_op = torch.library.custom_op("base_fast::next_key", _take, mutates_args=("key",))
_op.register_fake(lambda key, blocks, replica: torch.empty_like(key))
