"""The primitives of the search spaces at search time, as functions of an input and a list of weights.

Batch norm uses batch statistics, no affine parameters and no running averages, so a primitive is a pure function.
`weight_shapes(primitive, channels, stride)` names the weights that `apply` expects, in order; the names continue those
of the published DARTS modules (`_ops.4.op.1.weight` is name `op.1.weight` of primitive 4).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError

Shape = tuple[int, ...]

_SEPARABLE = {"sep_conv_3x3": 3, "sep_conv_5x5": 5, "sep_conv_7x7": 7}
_DILATED = {"dil_conv_3x3": 3, "dil_conv_5x5": 5}
_DENSE = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
_POOLS = ("max_pool_3x3", "avg_pool_3x3")

SUPPORTED = ("none", "skip_connect", *_POOLS, *_SEPARABLE, *_DILATED, *_DENSE)


def weight_shapes(primitive: str, channels: int, stride: int) -> dict[str, Shape]:
    """Names and shapes of a primitive's weights: empty for `none`, pools and the identity."""
    if primitive in _SEPARABLE:
        k = _SEPARABLE[primitive]
        return {
            "op.1.weight": (channels, 1, k, k),
            "op.2.weight": (channels, channels, 1, 1),
            "op.5.weight": (channels, 1, k, k),
            "op.6.weight": (channels, channels, 1, 1),
        }
    if primitive in _DILATED:
        k = _DILATED[primitive]
        return {"op.1.weight": (channels, 1, k, k), "op.2.weight": (channels, channels, 1, 1)}
    if primitive in _DENSE:
        k = _DENSE[primitive]
        return {"op.1.weight": (channels, channels, k, k)}
    if primitive == "skip_connect" and stride == 2:
        return factorized_reduce_shapes(channels, channels)
    return {}


def factorized_reduce_shapes(channels_in: int, channels_out: int) -> dict[str, Shape]:
    half = channels_out // 2
    return {"conv_1.weight": (half, channels_in, 1, 1), "conv_2.weight": (channels_out - half, channels_in, 1, 1)}


def batch_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Batch statistics, eps 1e-5, no running averages; affine only in stems."""
    if x.shape[0] * x.shape[2] * x.shape[3] == 1:
        raise InputError(
            f"batch norm: got one value per channel, shape {tuple(x.shape)}, expected more: larger images or batches"
        )
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5)


def relu_conv_bn(x: Tensor, weight: Tensor) -> Tensor:
    return batch_norm(F.conv2d(F.relu(x), weight, padding=weight.shape[-1] // 2))


def factorized_reduce(x: Tensor, weights: list[Tensor]) -> Tensor:
    return batch_norm(factorized_convolution(x, weights))


def factorized_convolution(x: Tensor, weights: list[Tensor]) -> Tensor:
    """ReLU, then half the resolution: two 1×1 convolutions of stride 2, the second on the input shifted by one pixel.

    Odd sizes are padded by one at the bottom and right, so that both halves have ⌈H/2⌉ × ⌈W/2⌉ pixels.

    Convolving every other pixel with stride 1 is the same, and safe: with stride 2, few channels and channels-last
    inputs, the backward of PyTorch's 1×1 convolution on the CPU writes outside its memory (torch 2.14, AVX-512).
    """
    x = F.relu(x)
    shifted = F.pad(x[:, :, 1::2, 1::2], (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    # Of a single output channel the first half is empty, and PyTorch convolves with one filter or more.
    halves = [(part, w) for part, w in zip((x[:, :, ::2, ::2], shifted), weights, strict=True) if len(w)]
    return torch.cat([F.conv2d(part, w) for part, w in halves], dim=1)


def _depthwise_pointwise(x: Tensor, depthwise: Tensor, pointwise: Tensor, stride: int, dilation: int) -> Tensor:
    padding = dilation * (depthwise.shape[-1] // 2)
    y = F.conv2d(F.relu(x), depthwise, stride=stride, padding=padding, dilation=dilation, groups=depthwise.shape[0])
    return batch_norm(F.conv2d(y, pointwise))


def apply(primitive: str, x: Tensor, weights: list[Tensor], stride: int) -> Tensor:
    """One primitive on x (B, C, H, W) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
    if primitive in _SEPARABLE:
        y = _depthwise_pointwise(x, weights[0], weights[1], stride, dilation=1)
        return _depthwise_pointwise(y, weights[2], weights[3], 1, dilation=1)
    if primitive in _DILATED:
        return _depthwise_pointwise(x, weights[0], weights[1], stride, dilation=2)
    if primitive in _DENSE:
        y = F.conv2d(F.relu(x), weights[0], stride=stride, padding=weights[0].shape[-1] // 2)
        return batch_norm(y)
    if primitive == "max_pool_3x3":
        return batch_norm(F.max_pool2d(x, 3, stride=stride, padding=1))
    if primitive == "avg_pool_3x3":
        return batch_norm(F.avg_pool2d(x, 3, stride=stride, padding=1, count_include_pad=False))
    if primitive == "skip_connect":
        return x if stride == 1 else factorized_reduce(x, weights)
    raise ValueError(f"primitive: got {primitive!r}, expected one of {SUPPORTED}")
