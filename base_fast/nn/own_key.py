"""The key that a layer carries: each training pass takes the next blocks of its noise stream."""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.errors import InputError


def blocks_of(count: int) -> int:
    """Philox blocks, of four words each, that `count` noise elements take."""
    return (count + 3) // 4


def ahead(key: Tensor, count: int) -> Tensor:
    """The key whose noise follows the first `count` elements of `key`, from the next block on."""
    following = key.clone()
    following[1:].add_(blocks_of(count))
    return following


def next_key(key: Tensor, blocks: int) -> Tensor:
    """A copy of `key`, which then moves on by `blocks` in place.

    Raises:
        InputError: inside a backward pass, where only activation checkpointing runs a layer: the key it drew with has
            moved on, and other noise would give gradients of another function.
    """
    # As an op, torch.compile keeps it whole, and the check runs whenever the compiled layer does.
    used: Tensor = _op(key, blocks) if torch.compiler.is_compiling() else _take(key, blocks)
    return used


def _take(key: Tensor, blocks: int) -> Tensor:
    if torch._C._current_graph_task_id() != -1:
        raise InputError(
            "key: got None in a recomputation by activation checkpointing, expected the key of the first run; pass "
            "`key`, or context_fn=lambda: (bf.nn.sampled(block, key), bf.nn.sampled(block, key)) to the checkpoint"
        )
    used = key.clone()
    key[1:].add_(blocks)
    return used


_op = torch.library.custom_op("base_fast::next_key", _take, mutates_args=("key",))
_op.register_fake(lambda key, blocks: torch.empty_like(key))
