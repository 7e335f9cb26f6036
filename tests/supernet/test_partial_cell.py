"""Partial channels against edges that are written as PC-DARTS writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.posterior import Posterior
from base_fast.reference import mixed_op
from base_fast.reference.mixed_cell import edge_shapes
from base_fast.space import DARTS, NAS_BENCH_201, Space
from base_fast.supernet import Supernet, SupernetConfig
from base_fast.supernet.partial_cell import partial_cell
from benchmarks.plain_darts import PlainDarts, PlainMixedOp, name_in_supernet
from tests import tolerances
from tests.supernet.samples import KEY, cosine_sum, images, one_hot, sample
from tests.tolerances import assert_close


def shuffled(x: Tensor, parts: int) -> Tensor:
    """Channel i·K + k is the i-th of part k."""
    count = x.shape[1] // parts
    return torch.stack([x[:, k * count + i] for i in range(count) for k in range(parts)], dim=1)


def joined(part: Tensor, x: Tensor, edge_weight: Tensor, parts: int) -> Tensor:
    """What an edge gives: its sum over the first part, and the others, which pass."""
    rest = x[:, x.shape[1] // parts :]
    if part.shape[2:] != x.shape[2:]:
        rest = F.max_pool2d(rest, 2, ceil_mode=True)
    return shuffled(torch.cat([part, edge_weight * rest], dim=1), parts)


class PartialOp(PlainMixedOp):
    def __init__(self, channels: int, stride: int, parts: int) -> None:
        super().__init__(channels // parts, stride)
        self.parts = parts

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        part = super().forward(x[:, : x.shape[1] // self.parts], weights)
        return joined(part, x, weights.sum(), self.parts)


def plain_network(supernet: Supernet) -> PlainDarts:
    config = supernet.config
    plain = PlainDarts(config.channels, config.layers, config.num_classes)
    for cell, block in zip(plain.cells, supernet.blocks, strict=True):
        for e, (p, _) in enumerate(DARTS.edges):
            cell._ops[e] = PartialOp(block.channels, block.stride(p), config.partial)  # type: ignore[union-attr]
    return plain.double()


def naive_cell(
    states: list[Tensor],
    z: Tensor,
    weights: Tensor,
    space: Space,
    parts: int,
    reduction: bool,
    chosen: list[int | None],
) -> Tensor:
    """Edge by edge, in the definitions' plain PyTorch."""
    channels = states[0].shape[1] // parts
    nodes, taken = list(states), 0
    for node in space.node_numbers:
        total = torch.zeros(())
        for p, e in enumerate(space.incoming(node)):
            stride = 2 if reduction and p < space.inputs else 1
            own = []
            for shape in edge_shapes(space.primitives, channels, stride):
                own.append(weights[taken : taken + torch.Size(shape).numel()].view(shape))
                taken += own[-1].numel()
            x, names = nodes[p], list(space.primitives)
            part = mixed_op.mixed_op(x[:, :channels], z[e], own, names, stride, chosen[e])
            total = total + joined(part, x, z[e].sum(), parts)
        nodes.append(total)
    assert taken == weights.numel()
    return torch.cat([nodes[node] for node in space.concat], dim=1)


@pytest.mark.parametrize(("channels", "parts", "layers", "height", "width"), [(8, 4, 3, 6, 8), (4, 2, 2, 7, 6)])
def test_logits_and_gradients_are_those_of_the_plain_network(
    channels: int, parts: int, layers: int, height: int, width: int
) -> None:
    supernet = Supernet(channels=channels, layers=layers, num_classes=3, partial=parts)
    theta, z = sample(supernet)
    z = 0.3 * z  # edges of any weight
    x = images(2, height, width)
    plain = plain_network(supernet)
    named = supernet.layout.named(theta)
    plain.load_state_dict({name: named[name_in_supernet(name)] for name in plain.state_dict()})

    plain_z, plain_x = z.clone().requires_grad_(), x.clone().requires_grad_()
    expected = plain(plain_x, plain_z)
    cosine_sum(expected).backward()
    leaves = [x.requires_grad_(), theta.requires_grad_(), z.requires_grad_()]
    logits = supernet(*leaves)
    cosine_sum(logits).backward()

    assert_close(logits, expected, tolerances.SUPERNET_FLOAT64)
    assert_close(x.grad, plain_x.grad, tolerances.SUPERNET_FLOAT64)
    assert_close(z.grad, plain_z.grad, tolerances.SUPERNET_FLOAT64)
    by_name = {name_in_supernet(name): p.grad for name, p in plain.named_parameters()}
    for name, gradient in supernet.layout.named(theta.grad).items():
        assert_close(gradient, by_name[name], tolerances.SUPERNET_FLOAT64)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_201], ids=["darts", "nas_bench_201"])
def test_a_cell_is_the_sum_of_its_edges(space: Space, reduction: bool, hard: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    channels, parts = 6, 3
    strides = [2 if reduction and p < space.inputs else 1 for p, _ in space.edges]
    count = sum(torch.Size(s).numel() for stride in strides for s in edge_shapes(space.primitives, 2, stride))
    soft = torch.rand(space.num_edges, space.num_primitives, dtype=torch.float64, generator=draws)
    values = [torch.randn(2, channels, 5, 6, dtype=torch.float64, generator=draws) for _ in range(space.inputs)]
    values += [one_hot(soft) if hard else soft, torch.randn(count, dtype=torch.float64, generator=draws)]
    chosen = values[-2].argmax(-1).tolist() if hard else None
    results = []
    for fused in (True, False):
        leaves = [v.clone().requires_grad_() for v in values]
        *states, z, weights = leaves
        if fused:
            y = partial_cell(states, z, weights, space, parts, reduction, chosen)
        else:
            y = naive_cell(states, z, weights, space, parts, reduction, chosen or [None] * space.num_edges)
        results.append([y, *torch.autograd.grad(cosine_sum(y), leaves)])
    for found, expected in zip(*results, strict=True):
        assert_close(found, expected, tolerances.SUPERNET_FLOAT64)


@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_201], ids=["darts", "nas_bench_201"])
def test_one_part_is_the_supernet_without(space: Space) -> None:
    plain, one = (Supernet(space, channels=4, layers=3, num_classes=3, **more) for more in ({}, {"partial": 1}))
    assert plain.layout == one.layout and plain.config == one.config
    theta, z = sample(plain, dtype=torch.float32)
    x = images(2, 8, dtype=torch.float32)
    assert torch.equal(plain(x, theta, z), one(x, theta, z))


def test_nas_bench_201_and_hard_samples() -> None:
    supernet = Supernet(NAS_BENCH_201, channels=8, layers=3, num_classes=3, partial=4, reductions=(1,))
    assert supernet.layout.numel < Supernet(NAS_BENCH_201, channels=8, layers=3, reductions=(1,)).layout.numel
    theta, soft = sample(supernet)
    x = images(2, 8)
    for z, hard in ((soft, False), (one_hot(soft), True)):
        leaves = [theta.clone().requires_grad_(), z.clone().requires_grad_()]
        logits = supernet(x, *leaves, hard=hard)
        d_theta, d_z = torch.autograd.grad(cosine_sum(logits), leaves)
        assert d_z.abs().max() > 0 and d_theta.abs().max() > 0
        assert_close(logits, supernet(x, theta, z), tolerances.SUPERNET_FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_stay_close(dtype: torch.dtype) -> None:
    supernet = Supernet(channels=8, layers=3, num_classes=3, partial=4)
    theta, z = sample(supernet)
    x = images(4, 8)
    logits = supernet(x.to(dtype), theta.to(dtype), z.to(dtype))
    assert logits.dtype == dtype
    near = tolerances.SUPERNET_FLOAT32 if dtype == torch.float32 else 0.1
    assert_close(logits.double(), supernet(x, theta, z), near)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(supernet(x.float(), theta.float(), z.float()).double(), supernet(x, theta, z), 0.1)


def test_it_can_be_differentiated_twice() -> None:
    space = replace(DARTS.with_nodes(1), name="small", primitives=("none", "skip_connect", "dil_conv_3x3"))
    supernet = Supernet(space, channels=2, layers=2, num_classes=2, partial=2)
    theta, z = sample(supernet)
    x = images(2, 4)
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(cosine_sum(supernet(x, theta, z)), z, create_graph=True)
    direction = torch.cos(torch.arange(z.numel(), dtype=z.dtype)).view(z.shape)
    (second,) = torch.autograd.grad((gradient * direction).sum(), z)
    h = 1e-5
    moved = []
    for step in (h, -h):
        there = (z.detach() + step * direction).requires_grad_()
        moved.append(torch.autograd.grad(cosine_sum(supernet(x, theta, there)), there)[0])
    assert_close(second, (moved[0] - moved[1]) / (2 * h), tolerances.FINITE_DIFFERENCE)
    assert second.abs().max() > 0


def test_it_is_part_of_the_configuration(tmp_path: Path) -> None:
    config = SupernetConfig(nodes=4, channels=8, layers=1, partial=4)
    prior = Supernet.from_config(config).prior(KEY)
    prior.save(tmp_path / "prior")
    assert Supernet.for_posterior(Posterior.load(tmp_path / "prior")).config == config
    # Files that were written before there was such a field.
    whole = Supernet(channels=4, layers=1).prior(KEY)
    older = {name: value for name, value in whole.config.items() if name != "partial"}
    assert Supernet.for_posterior(replace(whole, config=older)).config.partial == 1


@pytest.mark.parametrize(
    ("partial", "message"),
    [
        (3, "partial: got 3, expected a divisor of channels = 8"),
        (16, "partial: got 16, expected a divisor of channels = 8"),
        (0, "partial: got 0, expected an integer"),
        (2.5, "partial: got 2.5"),
    ],
)
def test_other_numbers_of_parts_are_refused(partial: float, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        Supernet(channels=8, layers=1, partial=partial)  # type: ignore[arg-type]
