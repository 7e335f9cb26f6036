"""bf.nn.patch on the cells that AutoDL-Projects searches NAS-Bench-201 with: the same function, in both modes."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import base_fast as bf
from base_fast.errors import InputError
from base_fast.nn.fused import Fused


class Zero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stride = 1

    def forward(self, x: Tensor) -> Tensor:
        return x.mul(0.0)


class Identity(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Pooling(nn.Module):
    """Without a norm, and without a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.op = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.op(x)
        return y


def candidates(channels: int) -> nn.ModuleList:
    # With biases, as there.
    convolutions = (
        nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, k, 1, k // 2), nn.BatchNorm2d(channels, affine=False))
        for k in (1, 3)
    )
    return nn.ModuleList([Zero(), Identity(), *convolutions, Pooling()])


class Cell(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.max_nodes = 4
        self.edges = nn.ModuleDict({f"{i}<-{j}": candidates(channels) for i in range(1, 4) for j in range(i)})
        self.edge2index = {key: i for i, key in enumerate(sorted(self.edges))}

    def forward(self, inputs: Tensor, weightss: Tensor) -> Tensor:
        nodes = [inputs]
        for i in range(1, self.max_nodes):
            rows = [(self.edges[f"{i}<-{j}"], weightss[self.edge2index[f"{i}<-{j}"]], x) for j, x in enumerate(nodes)]
            nodes.append(sum(op(x) * w for entry, row, x in rows for op, w in zip(entry, row, strict=True)))
        return nodes[-1]

    def strongest(self, inputs: Tensor, index: list[int]) -> Tensor:
        """Another way through, of their own."""
        y: Tensor = self.edges["1<-0"][index[0]](inputs)
        return y


class PartialCell(Cell):
    """As DrNAS writes it, with a weight that is exactly zero left out."""

    def __init__(self, channels: int, k: int) -> None:
        super().__init__(channels // k)
        self.k = k

    def mixed(self, x: Tensor, ops: nn.ModuleList, weights: Tensor) -> Tensor:
        width = x.shape[1] // self.k
        part = sum(w * op(x[:, :width]) for w, op in zip(weights, ops, strict=True) if w != 0)
        return part if self.k == 1 else F.channel_shuffle(torch.cat([part, x[:, width:]], dim=1), self.k)

    def forward(self, inputs: Tensor, weightss: Tensor) -> Tensor:
        nodes = [inputs]
        for i in range(1, self.max_nodes):
            keys = [f"{i}<-{j}" for j in range(i)]
            nodes.append(
                sum(
                    self.mixed(x, self.edges[key], weightss[self.edge2index[key]])
                    for key, x in zip(keys, nodes, strict=True)
                )
            )
        return nodes[-1]


def network() -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList([Cell(4), Cell(4), nn.ReLU(), Cell(8)])


def run(cell: nn.Module, x: Tensor, z: Tensor) -> list[Tensor]:
    leaves = [x.clone().requires_grad_(), z.clone().requires_grad_(), *cell.parameters()]
    y = cell(leaves[0], leaves[1])
    upstream = torch.cos(torch.arange(float(y.numel()))).view(y.shape).to(y)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream)]


@pytest.mark.parametrize("training", [True, False])
def test_the_same_function(training: bool) -> None:
    plain = network().train(training)
    model = copy.deepcopy(plain)
    report = bf.nn.patch(model, batch_size=2, resolution=6)
    assert report.edges == () and report.cells is not None
    assert report.cells.names == ("0", "1", "3")
    assert str(report).startswith("3 cells of NAS-Bench-201 with fused sums")
    assert report.seconds == (report.cells.seconds_before, report.cells.seconds_after)
    draws = torch.Generator().manual_seed(1)
    x, z = torch.randn(3, 4, 5, 6, generator=draws), torch.randn(6, 5, generator=draws)
    for found, expected in zip(run(model[0], x, z), run(plain[0], x, z), strict=True):
        assert (found - expected).norm() <= 1e-4 * expected.norm() + 1e-4
    # Running statistics go on.
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    assert isinstance(model[0], Cell)
    assert torch.equal(model[0].strongest(x, [1]), x)


def test_back_copies_and_files() -> None:
    model = network()
    bf.nn.patch(model, batch_size=2, resolution=6, edges=["0"])
    assert [isinstance(m, Fused) for m in model] == [True, False, False, False]
    x, z = torch.randn(2, 4, 4, 4), torch.randn(6, 5)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(other[0](x, z), model[0](x, z))
    assert bf.nn.unpatch(model) == 1
    assert type(model[0]) is Cell


@pytest.mark.parametrize("k", [1, 2, 4])
def test_partial_channels(k: int) -> None:
    torch.manual_seed(0)
    plain = nn.ModuleList([PartialCell(8, k)]).double()
    model = copy.deepcopy(plain)
    bf.nn.patch(model, batch_size=2, resolution=6)
    assert isinstance(model[0], Fused)
    draws = torch.Generator().manual_seed(1)
    x, z = (torch.randn(shape, generator=draws, dtype=torch.float64) for shape in ((3, 8, 5, 6), (6, 5)))
    for found, expected in zip(run(model[0], x, z), run(plain[0], x, z), strict=True):
        assert (found - expected).norm() <= 1e-12 * expected.norm() + 1e-12
    assert bf.nn.unpatch(model) == 1


def test_another_cell_is_refused() -> None:
    class Scaled(Cell):
        def forward(self, inputs: Tensor, weightss: Tensor) -> Tensor:
            return super().forward(inputs, 2 * weightss)

    model = nn.ModuleList([Scaled(4)])
    with pytest.raises(
        InputError, match="0: got a cell that is not the sum of its edges' candidates, on images of 6×6"
    ):
        bf.nn.patch(model)
    assert type(model[0]) is Scaled
