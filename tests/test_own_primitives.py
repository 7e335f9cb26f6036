"""A primitive that is a module of somebody's own: registered by a name and a factory, used wherever others are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from base_fast.random import key
from base_fast.reference.convolution import Conv2d
from base_fast.reference.primitives import apply, weight_shapes
from base_fast.reports.style import family, primitive_label
from base_fast.space import DARTS, PRIMITIVES, Genotype, register
from base_fast.supernet import Supernet

NAME = "gated_conv_3x3"


class Gated(nn.Module):
    """A depthwise convolution with squeeze and excitation; in place, with a dropout, a buffer and biases."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)
        self.gate = nn.Conv2d(channels, channels, 1)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.5) if affine else torch.tensor(0.5))
        self.first = nn.ReLU(inplace=True)
        self.rest = nn.Dropout(0.5)
        self.register_buffer("one", torch.ones(1))

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(self.first(x)))
        return self.rest(y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid() * self.scale * self.one)


class Pooled(nn.Module):
    """An edge of a search network of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self._ops = nn.ModuleList([nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.BatchNorm2d(4, affine=False))])

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True))


@pytest.fixture
def own() -> Iterator[str]:
    before = dict(PRIMITIVES)
    yield register(NAME, Gated).name
    PRIMITIVES.clear()
    PRIMITIVES.update(before)


def expected(x: Tensor, weights: dict[str, Tensor], stride: int) -> Tensor:
    y = nn.functional.conv2d(x.relu(), weights["conv.weight"], None, stride, 1, groups=x.shape[1])
    y = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    gate = nn.functional.conv2d(y.mean((2, 3), keepdim=True), weights["gate.weight"], weights["gate.bias"])
    return y * gate.sigmoid() * weights["scale"]


def drawn(name: str, channels: int, stride: int, seed: int = 0) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    shapes = weight_shapes(name, channels, stride)
    return {n: torch.randn(shape, generator=draws, dtype=torch.float64) for n, shape in shapes.items()}


@pytest.mark.parametrize("stride", [1, 2])
def test_it_computes_what_its_module_does(own: str, stride: int) -> None:
    weights = drawn(own, 4, stride)
    assert list(weights) == ["scale", "conv.weight", "gate.weight", "gate.bias"]
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kept = x.clone()
    torch.testing.assert_close(apply(own, x, [*weights.values()], stride), expected(x, weights, stride))
    assert torch.equal(x, kept)


def test_an_edge_adds_it_to_its_fused_primitives(own: str) -> None:
    primitives = ["none", own, "skip_connect", "max_pool_3x3"]
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    z = torch.tensor([0.1, 0.2, 0.3, 0.4], requires_grad=True)
    weights = {n: w.float().requires_grad_() for n, w in drawn(own, 4, 1).items()}
    y = ops.mixed_op(x, z, [*weights.values()], primitives)
    pool = nn.functional.batch_norm(nn.functional.max_pool2d(x, 3, 1, 1), None, None, training=True)
    torch.testing.assert_close(y, 0.2 * expected(x, weights, 1) + 0.3 * x + 0.4 * pool)
    chosen = ops.mixed_op(x, z, [*weights.values()], primitives, chosen=1)
    torch.testing.assert_close(chosen, 0.2 * expected(x, weights, 1))
    y.square().sum().backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in weights.values())


def test_threads_do_not_mix_their_weights(own: str) -> None:
    x = torch.randn(4, 8, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sets = [drawn(own, 8, 1, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda weights: apply(own, x, [*weights.values()], 1), sets * 4))
    for weights, y in zip(sets * 4, found, strict=True):
        torch.testing.assert_close(y, expected(x, weights, 1))


def test_supernets_and_edges_begin_with_its_own_vectors(own: str) -> None:
    before = torch.get_rng_state()
    space = replace(DARTS.with_nodes(2), name="own", primitives=("none", "skip_connect", own))
    supernet = Supernet(space, channels=4, layers=3, num_classes=2)
    priors = [supernet.prior(key(0)) for _ in range(2)]
    assert torch.equal(priors[0].mu, priors[1].mu)
    assert all(float(priors[0].mu[w].mean()) == 0.5 for n, w in supernet.layout.slices.items() if n.endswith("scale"))
    edge = MixedOp(4, 2, [own])
    assert dict(edge.named_parameters())["_ops.0.scale"].item() == 0.5
    assert edge(torch.randn(2, 4, 5, 5), torch.ones(1)).shape == (2, 4, 3, 3)
    torch.set_rng_state(before)


def test_genotypes_networks_and_reports_know_it(own: str) -> None:
    space = replace(DARTS.with_nodes(2), name="own", primitives=("none", "skip_connect", own))
    genotype = replace(Genotype.random(space, seed=1), normal=((own, 0), ("skip_connect", 1)) * 2)
    genotype.validate()
    assert Genotype.parse(genotype.compact()) == genotype
    network = Network(genotype, 4, 3, 5)
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 5)
    modules = [module for module in network.modules() if isinstance(module, Gated)]
    assert modules and all(module.norm.affine and not module.first.inplace for module in modules)
    assert (primitive_label(own), family(own)) == ("gated conv 3×3", "other")
    # Edges of a user's model are recognized by layers that the table knows.
    (edge,) = darts_edges(nn.ModuleList([Pooled()]))
    assert edge.primitives == ("max_pool_3x3",)


def test_a_cell_of_a_notebook_may_run_twice_and_the_last_version_counts(own: str) -> None:
    def version(channels: int, scale: float) -> nn.Module:
        module = nn.Conv2d(channels, channels, 1, bias=False)
        module.register_buffer("factor", torch.tensor(scale))
        module.register_forward_hook(lambda m, _, y: y * m.factor)
        return module

    def make(scale: float) -> object:
        def factory(channels: int, stride: int, affine: bool) -> nn.Module:
            return nn.Sequential(version(channels, scale), nn.MaxPool2d(stride, stride, ceil_mode=True))

        return factory

    x, weights = torch.ones(2, 1, 2, 2), [torch.ones(1, 1, 1, 1)]
    for scale in (2.0, 3.0):
        register("scaled", make(scale))
        assert float(apply("scaled", x, weights, 1).mean()) == scale
    with pytest.raises(InputError, match="'gated_conv_3x3' is the name of another primitive"):
        register(own, make(1.0))
    with pytest.raises(InputError, match="'skip_connect' is the name of another primitive"):
        register("skip_connect", Gated)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (None, "factory: None; expected a function (channels, stride, affine) -> module"),
        (
            lambda channels, stride: nn.Identity(),
            "bad: its factory, called with channels=4, stride=1, affine=False, fai",
        ),
        (
            lambda channels, stride, affine: torch.relu,
            "affine=False, gives builtin_function_or_method; expected a torc",
        ),
        (
            lambda channels, stride, affine: nn.Conv2d(3, channels, 1),
            "on images (2, 4, 8, 7) with stride 1 its module f",
        ),
        (
            lambda channels, stride, affine: nn.Conv2d(channels, 2, 1),
            "its module gives (2, 2, 8, 7); expected (2, 4, 8,",
        ),
        (
            lambda channels, stride, affine: nn.AvgPool2d(stride),
            "with stride 2 its module gives (2, 8, 4, 3); expected (2, 8, 4, 4)",
        ),
        (lambda channels, stride, affine: nn.LSTM(7, 7), "bad: on images (2, 4, 8, 7) with stride 1 its module f"),
    ],
)
def test_what_is_no_primitive_is_refused_before_a_search(own: str, factory: object, message: str) -> None:
    def use() -> None:
        register("bad", factory)
        Supernet(replace(DARTS.with_nodes(1), primitives=("none", "bad")), channels=4, layers=3)

    with pytest.raises(InputError) as found:
        use()
    assert message in str(found.value) and "\n" not in str(found.value)


def test_a_strided_1x1_convolution_is_not_pytorch_s(own: str) -> None:
    """Whose backward writes outside its memory for few channels; no other layer of a user's is exchanged."""

    def strided(channels: int, stride: int, affine: bool) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, channels, 1, stride), nn.Conv2d(channels, channels, 3, padding=1))

    register("strided", strided)
    first, second = build("strided", 4, 2)
    assert type(first) is Conv2d and type(second) is nn.Conv2d
    x = torch.randn(2, 4, 6, 6).to(memory_format=torch.channels_last).requires_grad_()
    weights = [torch.randn(shape) for shape in weight_shapes("strided", 4, 2).values()]
    y = apply("strided", x, weights, 2)
    y.sum().backward()
    middle = nn.functional.conv2d(x[:, :, ::2, ::2], weights[0], weights[1])
    torch.testing.assert_close(y, nn.functional.conv2d(middle, weights[2], weights[3], padding=1))


@pytest.mark.parametrize("name", ["se conv", "", "a~b"])
def test_a_name_must_fit_a_genotype_s_text(name: str) -> None:
    with pytest.raises(InputError, match="expected letters, digits and underscores"):
        register(name, Gated)


def test_a_space_of_three_inputs_is_refused_at_once() -> None:
    space = replace(DARTS, name="three", inputs=3, nodes=2, concat=(3, 4))
    with pytest.raises(InputError, match="space: three has cells of 3 inputs; expected 1 or 2"):
        Supernet(space)
