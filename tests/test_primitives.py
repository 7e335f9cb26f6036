"""What knows primitives agrees with the table: definition, kernels, edges, supernets, derived networks, reports."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from base_fast import ops
from base_fast.errors import InputError
from base_fast.evaluation import Network
from base_fast.evaluation.primitives import build
from base_fast.nn import MixedOp
from base_fast.nn.darts_edge import darts_edges
from base_fast.ops import extension
from base_fast.ops.memory import CHEAPEST
from base_fast.reference.primitives import apply, weight_shapes
from base_fast.reports.style import family, primitive_label
from base_fast.space import DARTS, PRIMITIVES, Genotype, Primitive, register
from base_fast.space.primitives import FUSED, BatchNorm, Convolution, Layer, ReLU
from base_fast.supernet import Supernet
from tests.tolerances import EDGE_FLOAT64, assert_close


@pytest.fixture
def own() -> Iterator[str]:
    """A primitive of a user's: an inverted bottleneck."""

    def layers(stride: int) -> tuple[Layer, ...]:
        return (
            Convolution((1, 1), outputs=2),
            BatchNorm(),
            ReLU(),
            Convolution((3, 3), (stride, stride), depthwise=True, inputs=2, outputs=2),
            Convolution((1, 1), inputs=2),
            BatchNorm(),
        )

    yield register(Primitive("bottleneck_3x3", layers)).name
    del PRIMITIVES["bottleneck_3x3"]


def test_the_extension_has_the_same_table() -> None:
    theirs = extension.CPU.facts.get("primitives")
    if theirs is None:
        pytest.skip(extension.CPU.missing or "this extension states no table")
    assert [(p["name"], p["number"]) for p in theirs] == [(p.name, p.number) for p in FUSED]
    for row, primitive in zip(theirs, FUSED, strict=True):
        for stride in (1, 2):
            shapes = primitive.weights(row["channels"], stride).values()
            assert row["weights"][str(stride)] == [*map(math.prod, shapes)], primitive.name
        depthwise = {(c.kernel[0], c.dilation) for c in primitive.at(1) if isinstance(c, Convolution) and c.depthwise}
        assert depthwise in ({(row["kernel"], row["dilation"])}, set()), primitive.name
        assert bool(row["kernel"]) == bool(depthwise), primitive.name
        assert row["kept"] == (primitive != CHEAPEST), primitive.name


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", PRIMITIVES)
def test_a_derived_network_has_the_layers_of_the_search(name: str, stride: int) -> None:
    """With fresh batch norms in training mode a module computes what the search does; its pools have no norm."""
    torch.manual_seed(0)
    module = build(name, 4, stride).double()
    weights = dict(module.named_parameters())
    shapes = weight_shapes(name, 4, stride)
    assert [key for key in weights if weights[key].dim() == 4] == list(shapes)
    x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    y = module(x)
    if "pool" in name:
        y = nn.functional.batch_norm(y, None, None, training=True)
    assert_close(y, apply(name, x, [weights[key] for key in shapes], stride), EDGE_FLOAT64)


class Edge(nn.Module):
    """An edge as a search network of PyTorch has it, made of a derived network's modules."""

    def __init__(self, name: str, stride: int) -> None:
        super().__init__()
        self._ops = nn.ModuleList([build(name, 4, stride)])
        if "pool" in name:
            self._ops[0] = nn.Sequential(self._ops[0], nn.BatchNorm2d(4))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.affine, module.weight, module.bias = False, None, None

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True))


@pytest.mark.parametrize("name", [name for name in PRIMITIVES if name not in ("none", "skip_connect", "nor_conv_1x1")])
def test_an_edge_is_recognized_by_its_layers(name: str) -> None:
    (edge,) = darts_edges(nn.ModuleList([Edge(name, 2)]))
    assert edge.primitives == (name,)


def test_an_own_primitive_works_wherever_others_do(own: str) -> None:
    space = replace(DARTS.with_nodes(2), name="own", primitives=("none", "skip_connect", "sep_conv_3x3", own))
    supernet = Supernet(space, channels=4, layers=3, num_classes=2)
    assert any("._ops.0._ops.3.op.3.weight" in name for name in supernet.layout.names)
    theta = 0.1 * torch.randn(supernet.layout.numel, generator=torch.Generator().manual_seed(0))
    theta.requires_grad_()
    z = torch.full((2, space.num_edges, 4), 0.25, requires_grad=True)
    supernet(torch.randn(2, 3, 8, 8), theta, z).sum().backward()
    assert float(z.grad[:, :, 3].abs().min()) > 0
    genotype = Genotype.random(space, seed=1)
    genotype = replace(genotype, normal=((own, 0), ("skip_connect", 1)) * 2)
    genotype.validate(space)
    genotype.validate()
    assert Genotype.parse(genotype.compact()) == genotype
    assert Network(genotype, 4, 3, 5)(torch.randn(2, 3, 8, 8)).shape == (2, 5)
    assert (primitive_label(own), family(own)) == ("bottleneck 3×3", "separable")
    (edge,) = darts_edges(nn.ModuleList([Edge(own, 1)]))
    assert edge.primitives == (own,)


def _supernet() -> None:
    Supernet(replace(DARTS, primitives=("none", "conv_9x9")))


def _cell() -> None:
    space = replace(DARTS, primitives=("none", "conv_9x9"))
    ops.mixed_cell([torch.zeros(1, 2, 3, 3)] * 2, torch.zeros(14, 2), torch.zeros(0), space)


@pytest.mark.parametrize(
    "use",
    [
        lambda: weight_shapes("conv_9x9", 4, 1),
        lambda: apply("conv_9x9", torch.zeros(1, 2, 3, 3), [], 1),
        lambda: ops.mixed_op(torch.zeros(1, 2, 3, 3), torch.zeros(1), [], ["conv_9x9"]),
        lambda: MixedOp(4, 1, ["none", "conv_9x9"]),
        lambda: build("conv_9x9", 4, 1),
        _supernet,
        _cell,
    ],
    ids=["weight_shapes", "apply", "mixed_op", "MixedOp", "build", "Supernet", "mixed_cell"],
)
def test_an_unknown_primitive_is_an_error(use: object) -> None:
    with pytest.raises(InputError, match="primitives: got 'conv_9x9', expected one of none, max_pool_3x3"):
        use()  # type: ignore[operator]
