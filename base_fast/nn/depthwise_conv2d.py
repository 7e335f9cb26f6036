"""A depthwise convolution whose gradients are fast on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from base_fast import ops
from base_fast.errors import InputError


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with one filter per channel, "same" padding and no bias: same parameters, same values.

    On the CPU, and outside `torch.autocast`, it is `ops.depthwise_conv`; elsewhere PyTorch's own convolution.

    Args:
        channels: C ≥ 1.
        kernel: 3, 5 or 7.
        stride: 1 or 2.
        dilation: 1 or 2.
        factory: `device` and `dtype` of the weight.

    Raises:
        InputError: for other sizes.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, dilation: int = 1, **factory: Any) -> None:
        sizes = (("channels", channels, None), ("kernel", kernel, (3, 5, 7)), ("stride", stride, (1, 2)))
        for name, value, allowed in (*sizes, ("dilation", dilation, (1, 2))):
            if value < 1 or (allowed and value not in allowed):
                expected = f"one of {allowed}" if allowed else "an integer ≥ 1"
                raise InputError(f"{name}: got {value}, expected {expected}")
        padding = dilation * (kernel // 2)
        super().__init__(channels, channels, kernel, stride, padding, dilation, channels, bias=False, **factory)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dim() != 4 or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        return ops.depthwise_conv(x, self.weight, self.stride[0], self.dilation[0])
