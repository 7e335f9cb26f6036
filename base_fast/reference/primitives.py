"""The layers of the table of primitives at search time, in plain PyTorch: functions of an input and a list of weights.

Batch norm uses batch statistics, no affine parameters and no running averages, so a primitive is a pure function.
`weight_shapes(primitive, channels, stride)` names the weights that `apply` expects, in order; the names continue those
of the published DARTS modules (`_ops.4.op.1.weight` is name `op.1.weight` of primitive 4).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.reference import own_module
from base_fast.reference.convolution import conv2d
from base_fast.space.own_module import OwnModule
from base_fast.space.primitives import (
    BatchNorm,
    Convolution,
    FactorizedReduction,
    Identity,
    Layer,
    Pool,
    ReLU,
    Shape,
    Zero,
    find,
)


def weight_shapes(primitive: str, channels: int, stride: int) -> dict[str, Shape]:
    """Names and shapes of a primitive's weights: empty for `none`, pools and the identity."""
    return find(primitive).weights(channels, stride)


def vector_values(primitive: str, channels: int, stride: int) -> dict[str, Tensor]:
    """Initial values of those weights that are vectors or numbers, which no fan-in scales: a module's own."""
    layers = [layer for layer in find(primitive).at(stride) if isinstance(layer, OwnModule)]
    return own_module.vectors(layers[0], channels) if layers else {}


def batch_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Batch statistics, eps 1e-5, no running averages; affine only in stems."""
    if x.shape[0] * x.shape[2] * x.shape[3] == 1:
        raise InputError(
            f"batch norm: got one value per channel, shape {tuple(x.shape)}, expected more: larger images or batches"
        )
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5)


def relu_conv_bn(x: Tensor, weight: Tensor) -> Tensor:
    """x (B, C_in, H, W) and a filter (C_out, C_in, k, k), k odd → (B, C_out, H, W)."""
    return batch_norm(F.conv2d(F.relu(x), weight, padding=weight.shape[-1] // 2))


def factorized_reduce(x: Tensor, weights: list[Tensor]) -> Tensor:
    """The batch norm of `factorized_convolution`: (B, C, H, W) → (B, C_out, ⌈H/2⌉, ⌈W/2⌉)."""
    return batch_norm(factorized_convolution(x, weights))


def factorized_convolution(x: Tensor, weights: list[Tensor]) -> Tensor:
    """ReLU, then half the resolution: two 1×1 convolutions of stride 2, the second on the input shifted by one pixel.

    Odd sizes are padded by one at the bottom and right, so that both halves have ⌈H/2⌉ × ⌈W/2⌉ pixels.
    They are computed on every other pixel with stride 1, as in `reference.convolution`.
    """
    x = F.relu(x)
    shifted = F.pad(x[:, :, 1::2, 1::2], (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    # Of a single output channel the first half is empty, and PyTorch convolves with one filter or more.
    halves = [(part, w) for part, w in zip((x[:, :, ::2, ::2], shifted), weights, strict=True) if len(w)]
    return torch.cat([F.conv2d(part, w) for part, w in halves], dim=1)


def apply(primitive: str, x: Tensor, weights: list[Tensor], stride: int) -> Tensor:
    """One primitive on x (B, C, H, W) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
    remaining = iter(weights)
    for layer in find(primitive).at(stride):
        x = _apply(layer, x, remaining)
    return x


def _apply(layer: Layer, x: Tensor, weights: Iterator[Tensor]) -> Tensor:
    match layer:
        case Zero(stride):
            return x[:, :, ::stride, ::stride] * 0.0
        case Identity():
            return x
        case ReLU():
            return F.relu(x)
        case BatchNorm():
            return batch_norm(x)
        case Pool("max", stride):
            return F.max_pool2d(x, 3, stride=stride, padding=1)
        case Pool("average", stride):
            return F.avg_pool2d(x, 3, stride=stride, padding=1, count_include_pad=False)
        case Convolution():
            groups = x.shape[1] if layer.depthwise else 1
            return conv2d(x, next(weights), None, layer.stride, layer.padding, layer.dilation, groups)
        case FactorizedReduction():
            return factorized_reduce(x, [next(weights), next(weights)])
        case OwnModule():
            return own_module.apply(layer, x, list(weights))
        case _:
            raise TypeError(f"layer: got {layer!r}, which is none")
