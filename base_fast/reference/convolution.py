"""`F.conv2d` without the one case that PyTorch computes wrongly on the CPU."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d`, where a strided 1×1 filter convolves every other pixel with stride 1.

    The result is the same. Of channels-last images with 2 to 7 channels, the backward of PyTorch's own strided 1×1
    convolution writes outside its memory (torch 2.14, oneDNN for AVX2). "same" padding is refused as there.
    """
    rows, columns = _pair(stride)
    if weight.shape[-2:] != (1, 1) or (rows, columns) == (1, 1) or padding == "same":
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    if not isinstance(padding, str):
        above, left = _pair(padding)
        x = F.pad(x, (left, left, above, above)) if above or left else x
    return F.conv2d(x[..., ::rows, ::columns], weight, bias, groups=groups)


class Conv2d(nn.Conv2d):
    """A convolution that may be 1×1 and strided, which PyTorch's may not."""

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else value
