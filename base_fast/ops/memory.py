"""What an edge keeps of its forward pass for backward: how many values, and in which dtype."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from base_fast.space.primitives import find, numbered

MEMORY = ("store", "store_bf16", "recompute")
"""How much is kept, see `ops.mixed_op`; kernels take the position."""
STORE_BF16, RECOMPUTE = MEMORY.index("store_bf16"), MEMORY.index("recompute")

# Channels lie in blocks, the last one filled up.
_BLOCK = 16
# What costs least to compute again.
CHEAPEST = find("dil_conv_3x3")


def padded(channels: int) -> int:
    """Channels of whole blocks."""
    return (channels + _BLOCK - 1) // _BLOCK * _BLOCK


def stages(primitives: Sequence[int], stride: int) -> int:
    """How many norms follow a convolution: one per depthwise convolution and factorized reduction."""
    return sum(numbered(i).convolution_norms(stride) for i in primitives)


def kept(primitives: Sequence[int], stride: int, memory: int, device: torch.device) -> int:
    """How many stages' values are kept for backward; on the CPU not what costs least to compute again."""
    if memory == RECOMPUTE:
        return 0
    again = device.type == "cpu" and len(primitives) > 1
    return stages(primitives, stride) - sum(numbered(i) == CHEAPEST for i in primitives) * again


def kept_dtype(dtype: torch.dtype, memory: int) -> torch.dtype:
    """Of the kept values of an edge that computes with `dtype`: float64 is never rounded."""
    return torch.bfloat16 if memory == STORE_BF16 and dtype == torch.float32 else dtype
