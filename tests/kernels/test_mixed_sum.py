"""The kernels of mixed_sum against its reference in float64, in any mix of memory layouts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor
from torch.nn.functional import pad

from base_fast.kernels import mixed_sum as kernel
from base_fast.reference import mixed_sum as reference
from tests import tolerances
from tests.kernels.cases import assert_all_close, normal, wide

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "c": lambda x: x,
    "l": lambda x: x.contiguous(memory_format=torch.channels_last),
    "p": lambda x: x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),  # any order
    "s": lambda x: pad(x, (1, 2))[..., 1:-2],  # a part of something larger
    "e": lambda x: x[:1].expand_as(x),  # overlaps itself
}
# Every layout in float32; the other dtypes need one mix.
MIXES = [(mix, torch.float32) for mix in ("ccc", "lll", "clc", "lcp", "sel")]
MIXES += [("clc", torch.float64), ("clc", torch.bfloat16)]
# One element; odd; several tiles of channels and pixels, the last partly full; one whole tile.
SHAPES = ((1, 1, 1, 1), (2, 3, 5, 7), (2, 40, 6, 8), (1, 32, 4, 8))
SUM = {
    torch.float32: tolerances.SUM_FLOAT32,
    torch.float64: tolerances.FLOAT64,
    torch.bfloat16: tolerances.SUM_BFLOAT16,
}
POSITIONS = [4, 0, 2]


def edge(shape: tuple[int, ...], mix: str, dtype: torch.dtype) -> tuple[Tensor, list[Tensor], Tensor]:
    """A gradient in the second branch's layout, the branches, five weights."""
    branches = [LAYOUTS[layout](normal(*shape, dtype=dtype, seed=k)) for k, layout in enumerate(mix)]
    grad = torch.empty_like(branches[1]).copy_(normal(*shape, seed=9))
    return grad, branches, normal(5, dtype=dtype, seed=10)


@pytest.mark.parametrize(("mix", "dtype"), MIXES)
@pytest.mark.parametrize("shape", SHAPES)
def test_sum_and_gradient(shape: tuple[int, ...], mix: str, dtype: torch.dtype) -> None:
    grad, branches, weights = edge(shape, mix, dtype)
    actual = kernel.mixed_sum(branches, weights, POSITIONS)
    assert actual.stride() == torch.empty_like(branches[0]).stride()
    (w,) = wide(weights)
    assert_all_close([actual], [reference.mixed_sum(wide(branches), w, POSITIONS)], SUM[dtype], dtype)
    *d_branches, d_weights = kernel.mixed_sum_backward(grad, branches, weights, POSITIONS)
    for d, branch in zip(d_branches, branches, strict=True):
        assert d.stride() == torch.empty_like(branch).stride()
    expected = reference.mixed_sum_backward(grad.double(), wide(branches), w, POSITIONS)
    assert_all_close([*d_branches, d_weights], expected, SUM[dtype], dtype)
    assert d_weights[1] == 0 and d_weights[3] == 0


def test_empty_branches() -> None:
    branches = [torch.zeros(0, 3, 2, 2)] * 2
    weights = torch.ones(2)
    assert kernel.mixed_sum(branches, weights, [0, 1]).shape == (0, 3, 2, 2)
    *d_branches, d_weights = kernel.mixed_sum_backward(branches[0], branches, weights, [0, 1])
    assert len(d_branches) == 2 and torch.equal(d_weights, torch.zeros(2))


def test_one_position_for_two_branches() -> None:
    grad, branches, weights = edge((2, 3, 5, 7), "ccc", torch.float32)
    actual = kernel.mixed_sum_backward(grad, branches, weights, [1, 1, 4])
    expected = reference.mixed_sum_backward(grad.double(), wide(branches), weights.double(), [1, 1, 4])
    assert_all_close(actual, expected, tolerances.SUM_FLOAT32)
