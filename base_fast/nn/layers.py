"""The layers of the table of primitives as PyTorch's modules."""

from __future__ import annotations

from torch import nn

from base_fast.reference.convolution import Conv2d
from base_fast.space.primitives import BatchNorm, Convolution, Layer, Pool, ReLU


def module_of(layer: Layer, channels: int, width: int, affine: bool) -> nn.Module:
    """One layer of an edge of `channels`, which meets images of `width` channels.

    Args:
        affine: whether batch norms have weights, as in derived networks; none has in a search.

    Raises:
        TypeError: the layer is no single module of PyTorch's: zeros, the identity, a factorized reduction.
    """
    match layer:
        case ReLU():
            return nn.ReLU()
        case BatchNorm():
            return nn.BatchNorm2d(width, affine=affine)
        case Pool("max", stride):
            return nn.MaxPool2d(3, stride, padding=1)
        case Pool("average", stride):
            return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        case Convolution(kernel, stride, dilation):
            outs, groups = layer.outputs * channels, width if layer.depthwise else 1
            return Conv2d(width, outs, kernel, stride, layer.padding, dilation, groups, bias=False)
        case _:
            raise TypeError(f"layer: got {layer!r}, which is no single module")
