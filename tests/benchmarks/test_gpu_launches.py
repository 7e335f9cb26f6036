"""What counts as a kernel, and that a fused edge launches few."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from benchmarks import gpu_launches
from benchmarks.gpu_launches import Operations


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta", requires_grad=True)


def test_views_and_allocations_are_no_kernels() -> None:
    x = meta(2, 3, 4, 4)
    with Operations() as operations:
        torch.empty_like(x)
        x.detach().view(2, 48)[0].expand(5, 48)
    assert operations.total == 0


def test_a_convolution_counts_one_and_one_for_each_gradient() -> None:
    x, weight = meta(2, 3, 4, 4), meta(5, 3, 3, 3)
    with Operations() as forward:
        y = F.conv2d(x, weight)
    with Operations() as both:
        torch.autograd.grad(y, [x, weight], torch.empty_like(y))
    with Operations() as one:
        torch.autograd.grad(F.conv2d(x.detach(), weight), weight, torch.empty_like(y))
    assert (forward.total, both.total, one.total) == (1, 2, 2)


def test_a_batch_norm_counts_three_and_two() -> None:
    x = meta(2, 3, 4, 4)
    with Operations() as forward:
        y = F.batch_norm(x, None, None, training=True)
    with Operations() as backward:
        torch.autograd.grad(y, x, torch.empty_like(y))
    assert (forward.total, backward.total) == (3, 2)


def test_an_edge_launches_few() -> None:
    pytest.importorskip("triton")
    one, two, recomputed = gpu_launches.edges()
    assert one.ours == two.ours == (5, 11)
    assert recomputed.ours == (5, 13)
    assert one.ratio > 8 and two.ratio > 10
    assert len(gpu_launches.table([one, two, recomputed]).rows) == 3
