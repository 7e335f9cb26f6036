"""Supernets for images of several sizes, and of other search spaces."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from base_fast.space import DARTS, NAS_BENCH_201
from base_fast.supernet import Supernet
from base_fast.supernet.stems import apply_stem, stem_shapes
from tests import tolerances
from tests.supernet.samples import cosine_sum, images, one_hot, sample
from tests.tolerances import assert_close

# --- Stems ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "stem"),
    [(8, "32"), (32, "32"), (48, "32"), (49, "64"), (64, "64"), (128, "64"), (129, "224"), (224, "224")],
)
def test_the_image_size_chooses_the_stem_and_the_cells_are_shared(size: int, stem: str) -> None:
    supernet = Supernet(DARTS.with_nodes(1), channels=2, layers=1, num_classes=2, stems=("32", "64", "224"))
    theta, z = sample(supernet, dtype=torch.float32)
    theta.requires_grad_()
    cosine_sum(supernet(images(2, size, dtype=torch.float32), theta, z)).backward()
    reached = {name for name, gradient in supernet.layout.named(theta.grad).items() if gradient.abs().max() > 0}
    expected = {name for name in supernet.layout.names if name.startswith((f"stems.{stem}.", "cells.", "classifier."))}
    assert reached == expected


@pytest.mark.parametrize("stem", ["32", "64", "224"])
def test_one_of_several_stems_computes_what_it_computes_alone(stem: str) -> None:
    several = Supernet(channels=2, layers=2, num_classes=3, stems=("32", "64", "224"))
    alone = Supernet(channels=2, layers=2, num_classes=3, stems=(stem,))
    theta, z = sample(several)
    named = several.layout.named(theta)
    own = torch.cat([named[name].flatten() for name in alone.layout.names])
    x = images(1, {"32": 16, "64": 50, "224": 130}[stem])
    assert_close(alone(x, own, z), several(x, theta, z), tolerances.SUPERNET_FLOAT64)


def test_a_single_stem_serves_every_size() -> None:
    supernet = Supernet(DARTS.with_nodes(1), channels=2, layers=1, num_classes=2, stems=("224",))
    theta, z = sample(supernet, dtype=torch.float32)
    for size in (32, 64):
        assert supernet(images(2, size, dtype=torch.float32), theta, z).shape == (2, 2)


@pytest.mark.parametrize(("stem", "divisor"), [("32", 1), ("64", 2), ("224", 8)])
def test_stems_divide_the_resolution(stem: str, divisor: int) -> None:
    weights = [torch.randn(shape) for shape in stem_shapes(stem, 3, 12).values()]
    y = apply_stem(stem, images(2, 32, dtype=torch.float32), weights)
    assert y.shape == (2, 12, 32 // divisor, 32 // divisor)
    # It ends in the affine batch norm.
    scale, shift = weights[-2:]
    assert_close(y.mean(dim=(0, 2, 3)), shift, tolerances.EDGE_FLOAT32)
    assert_close(y.std(dim=(0, 2, 3), correction=0), scale.abs(), tolerances.BATCH_NORM_EPSILON)


# --- Other spaces -----------------------------------------------------------------------------------------------------


def test_nas_bench_201() -> None:
    supernet = Supernet("nas_bench_201", channels=4, layers=8, num_classes=5)
    theta, z = sample(supernet)
    assert z.shape == (1, 6, 5)
    theta.requires_grad_()
    z.requires_grad_()
    logits = supernet(images(3, 17), theta, z)
    assert logits.shape == (3, 5)
    cosine_sum(logits).backward()
    for name, gradient in supernet.layout.named(theta.grad).items():
        assert gradient.abs().max() > 0, name
    assert (z.grad[..., 1:].abs() > 0).all()


def test_nas_bench_201_counts() -> None:
    """Three stages; a cell has a 1×1 and a 3×3 convolution on each of its six edges."""
    supernet = Supernet(NAS_BENCH_201, channels=16, layers=8, num_classes=10)
    cells = {16: 2, 32: 2, 64: 2}
    expected = 16 * 27 + 32 + sum(count * 6 * 10 * c * c for c, count in cells.items())
    expected += sum(2 * c * c * 9 + c * c * 36 + 2 * c * c for c in (16, 32))
    assert supernet.layout.numel == expected + 64 * 10 + 10


def test_a_subset_of_the_primitives_and_fewer_nodes() -> None:
    space = replace(DARTS.with_nodes(2), name="small", primitives=("sep_conv_3x3", "none", "skip_connect"))
    supernet = Supernet(space, channels=4, layers=3, num_classes=4)
    theta, z = sample(supernet)
    assert z.shape == (2, 5, 3)
    assert supernet(images(2, 8), theta, z).shape == (2, 4)
    assert_close(
        supernet(images(2, 8), theta, one_hot(z), hard=True),
        supernet(images(2, 8), theta, one_hot(z)),
        tolerances.SUPERNET_FLOAT64,
    )


def test_own_reductions() -> None:
    supernet = Supernet(channels=2, layers=3, num_classes=2, reductions=(1,))
    assert [block.reduction for block in supernet.blocks] == [False, True, False]
    assert [block.channels for block in supernet.blocks] == [2, 4, 4]
    without = Supernet(channels=2, layers=3, num_classes=2, reductions=())
    assert not any(block.reduction for block in without.blocks)
    theta, z = sample(without)
    theta.requires_grad_()
    z.requires_grad_()
    cosine_sum(without(images(2, 4), theta, z)).backward()
    assert torch.equal(z.grad[1], torch.zeros(14, 8))
