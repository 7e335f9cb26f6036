"""nn.MixedOp against a DARTS-style module: names, values, gradients, and what it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import base_fast as bf
from base_fast.errors import InputError
from base_fast.nn import MixedOp
from base_fast.ops.memory import MEMORY
from benchmarks.plain_darts import NAS_BENCH_201_PRIMITIVES, PRIMITIVES, PlainMixedOp
from tests import tolerances
from tests.tolerances import assert_close

SUBSETS = [
    PRIMITIVES,
    NAS_BENCH_201_PRIMITIVES,
    ("skip_connect", "none"),
    ("sep_conv_7x7", "nor_conv_3x3", "dil_conv_5x5"),
    ("max_pool_3x3",),
]


def test_names_are_those_of_the_published_module() -> None:
    names = list(MixedOp(16, 1).state_dict())
    assert names[:4] == [f"_ops.4.op.{i}.weight" for i in (1, 2, 5, 6)]
    assert names[-2:] == ["_ops.7.op.1.weight", "_ops.7.op.2.weight"]
    assert list(MixedOp(16, 2).state_dict())[:2] == ["_ops.3.conv_1.weight", "_ops.3.conv_2.weight"]


@pytest.mark.parametrize("primitives", SUBSETS, ids=",".join)
@pytest.mark.parametrize("stride", [1, 2])
def test_state_dicts_move_both_ways(primitives: tuple[str, ...], stride: int) -> None:
    plain, ours = PlainMixedOp(6, stride, primitives), MixedOp(6, stride, primitives)
    shapes = {name: weight.shape for name, weight in plain.state_dict().items()}
    assert {name: weight.shape for name, weight in ours.state_dict().items()} == shapes
    assert list(ours.state_dict()) == list(shapes)
    ours.load_state_dict(plain.state_dict())
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, plain.state_dict()[name])
    PlainMixedOp(6, stride, primitives).load_state_dict(ours.state_dict())


@pytest.mark.parametrize("primitives", SUBSETS, ids=",".join)
@pytest.mark.parametrize("stride", [1, 2])
def test_output_and_gradients_are_those_of_the_plain_module(primitives: tuple[str, ...], stride: int) -> None:
    torch.manual_seed(0)
    plain, ours = PlainMixedOp(6, stride, primitives).double(), MixedOp(6, stride, primitives).double()
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, 7, 8, dtype=torch.float64)
    z = torch.softmax(torch.randn(len(primitives), dtype=torch.float64), 0)
    results = []
    for module in (plain, ours):
        leaves = [x.clone().requires_grad_(), z.clone().requires_grad_(), *module.parameters()]
        y = module(*leaves[:2])
        results.append([y, *torch.autograd.grad((y * y.detach().cos()).sum(), leaves)])
    for expected, found in zip(*results, strict=True):
        assert_close(found, expected, tolerances.EDGE_FLOAT64)


def test_chosen_executes_one_primitive() -> None:
    torch.manual_seed(1)
    module = MixedOp(4)
    x, z = torch.randn(2, 4, 5, 5), torch.eye(8)
    for l in range(8):
        assert_close(module(x, z[l], chosen=l), module(x, z[l]), tolerances.EDGE_FLOAT32)
    with torch.no_grad():
        module.get_parameter("_ops.5.op.1.weight").fill_(float("nan"))
    assert module(x, z[4], chosen=4).isfinite().all()
    assert not module(x, z[5], chosen=5).isfinite().all()


def test_initialization_is_that_of_convolutions() -> None:
    torch.manual_seed(2)
    weight = MixedOp(64).get_parameter("_ops.4.op.2.weight")
    bound = 64**-0.5
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.95 * bound
    before = weight.clone()
    module = MixedOp(64)
    module.reset_parameters()
    assert not torch.equal(module.get_parameter("_ops.4.op.2.weight"), before)


def test_it_moves_copies_and_prints_like_any_module() -> None:
    module = MixedOp(4, 2)
    double = copy.deepcopy(module).double()
    assert next(double.parameters()).dtype == torch.float64
    assert next(module.parameters()).dtype == torch.float32
    assert not list(module.buffers())
    assert "4, stride=2, primitives=['none', 'max_pool_3x3'" in repr(module)
    assert bf.nn.MixedOp is MixedOp


def test_one_channel_of_stride_two() -> None:
    y = MixedOp(1, 2)(torch.randn(3, 1, 5, 4), torch.full((8,), 1 / 8))
    assert y.shape == (3, 1, 3, 2)


def test_it_trains() -> None:
    torch.manual_seed(3)
    module = MixedOp(4)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    x, z, target = torch.randn(8, 4, 6, 6), torch.full((8,), 1 / 8), torch.randn(8, 4, 6, 6)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (module(x, z) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


class Classifier(nn.Module):
    """Edges among layers of PyTorch's own."""

    def __init__(self, memory: str = "store") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.edges = nn.ModuleList([MixedOp(4, memory=memory), MixedOp(4, 2, memory=memory)])
        self.head = nn.Linear(4, 5)
        self.alphas = nn.Parameter(torch.randn(2, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for edge, alpha in zip(self.edges, self.alphas, strict=True):
            x = edge(x, alpha.softmax(0))
        return self.head(x.mean((2, 3)))


def loss_and_gradients(f: Callable[[Tensor], Tensor], model: nn.Module, x: Tensor) -> list[Tensor]:
    loss = nn.functional.cross_entropy(f(x), torch.arange(len(x)) % 5)
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


@pytest.mark.parametrize("memory", MEMORY)
def test_a_model_compiles_without_breaks(memory: str) -> None:
    torch.manual_seed(4)
    model, x = Classifier(memory), torch.randn(4, 3, 6, 6)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for found, expected in zip(
        loss_and_gradients(compiled, model, x), loss_and_gradients(model, model, x), strict=True
    ):
        assert_close(found, expected, tolerances.EDGE_FLOAT32)


def test_a_model_under_autocast_keeps_its_weights() -> None:
    torch.manual_seed(5)
    model, x = Classifier(), torch.randn(32, 3, 12, 12)
    dtypes = []
    model.edges[1].register_forward_hook(lambda edge, inputs, y: dtypes.append((inputs[0].dtype, y.dtype)))

    def autocast(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    found = loss_and_gradients(autocast, model, x)
    assert dtypes == [(torch.bfloat16, torch.bfloat16)]
    expected = loss_and_gradients(model, model, x)
    assert_close(found[0], expected[0], tolerances.EDGE_BFLOAT16)
    # A gradient of many ReLUs, some of which rounding opens or closes: its direction stays.
    one, other = (torch.cat([g.flatten() for g in gradients[1:]]) for gradients in (found, expected))
    assert one.dtype == torch.float32
    assert torch.cosine_similarity(one, other, 0) > tolerances.BFLOAT16_DIRECTION


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), r"channels: got 0, expected an integer ≥ 1"),
        ((4, 3), r"stride: got 3, expected an integer from 1 to 2"),
        ((4, 1, ("none", "conv")), r"primitives: got 'conv', expected one of none, max_pool_3x3"),
        ((4, 1, ()), r"primitives: got \[\], expected at least one"),
    ],
)
def test_errors(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        MixedOp(*arguments)  # type: ignore[arg-type]


def test_forward_checks_its_weights() -> None:
    with pytest.raises(InputError, match=r"^z: got .* expected shape \(8,\), one weight per primitive"):
        MixedOp(4)(torch.zeros(2, 4, 5, 5), torch.zeros(7))
    with pytest.raises(InputError, match="^weights: got shapes"):
        MixedOp(4)(torch.zeros(2, 3, 5, 5), torch.zeros(8))
