from __future__ import annotations

import pytest
import torch
from torch import nn

from base_fast.errors import InputError
from base_fast.nn import DepthwiseConv2d
from tests import tolerances
from tests.tolerances import assert_close


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (5, 1, 2), (3, 2, 2), (7, 1, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_is_the_convolution_of_pytorch(kernel, stride, dilation, memory_format):
    torch.manual_seed(0)
    ours = DepthwiseConv2d(6, kernel, stride, dilation, dtype=torch.float64)
    padding = dilation * (kernel // 2)
    plain = nn.Conv2d(6, 6, kernel, stride, padding, dilation, groups=6, bias=False, dtype=torch.float64)
    plain.load_state_dict(ours.state_dict())
    xs = [torch.randn(3, 6, 9, 8, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()]
    xs.append(xs[0].detach().clone().requires_grad_())
    ys = [layer(x) for layer, x in zip((ours, plain), xs, strict=True)]
    assert_close(*ys, tolerances.FLOAT64)
    for y in ys:
        y.square().sum().backward()
    assert_close(xs[0].grad, xs[1].grad, tolerances.FLOAT64)
    assert_close(ours.weight.grad, plain.weight.grad, tolerances.FLOAT64)


def test_autocast_and_single_images_take_pytorchs_own():
    layer = DepthwiseConv2d(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 4, 5, 5)).dtype == torch.bfloat16
    assert layer(torch.randn(4, 5, 5)).shape == (4, 5, 5)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [((0, 3), "channels: got 0"), ((4, 4), "kernel: got 4"), ((4, 3, 3), "stride: got 3"), ((4, 3, 1, 3), "dilation: got 3")],
)
def test_other_sizes(arguments, found):
    with pytest.raises(InputError, match=f"^{found}, expected"):
        DepthwiseConv2d(*arguments)
