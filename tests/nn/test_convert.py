"""bf.nn.bayesian and back: the same function of the means, MOPED's distributions, and refusals before any change."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import base_fast as bf
from base_fast.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "Linear": (nn.Linear(6, 4), (2, 6)),
    "Conv1d": (nn.Conv1d(3, 6, 3, 2, "valid", 2, 3, padding_mode="circular"), (2, 3, 9)),
    "Conv2d": (nn.Conv2d(3, 6, (3, 1), padding=(1, 0), bias=False, padding_mode="reflect"), (2, 3, 8, 8)),
    "Conv3d": (nn.Conv3d(2, 4, 3, padding="same"), (2, 2, 4, 5, 6)),
    "ConvTranspose1d": (nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2), (2, 4, 9)),
    "ConvTranspose2d": (nn.ConvTranspose2d(3, 3, 3, padding=1, dilation=(1, 2), bias=False), (2, 3, 8, 8)),
    "ConvTranspose3d": (nn.ConvTranspose3d(2, 4, 2, stride=(1, 2, 2)), (2, 2, 4, 5, 6)),
}


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR)


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer(name: str) -> None:
    plain, shape = LAYERS[name]
    x = draw(*shape)
    layer: Any = bf.nn.bayesian(plain)
    assert type(layer) is getattr(bf.nn, f"Bayesian{name}")
    assert torch.equal(layer.eval()(x), plain(x))
    # A draw is the plain layer with the drawn weights.
    weight, bias = layer.sample(bf.random.key(1))
    drawn = copy.deepcopy(plain)
    with torch.no_grad():
        drawn.get_parameter("weight").copy_(weight)
        if bias is not None:
            drawn.get_parameter("bias").copy_(bias)
    torch.testing.assert_close(layer(x, key=bf.random.key(1)), drawn(x))
    back = bf.nn.plain(layer)
    assert type(back) is type(plain)
    assert torch.equal(back(x), plain(x))
    assert repr(back) == repr(plain)
    # Made directly, it takes the arguments of the plain layer, and starts as wide.
    made = type(layer)(*shape[1:2], 4, *([3] if name != "Linear" else []))
    assert made.weight_mu.shape == type(plain)(*shape[1:2], 4, *([3] if name != "Linear" else [])).weight.shape
    with pytest.raises(InputError, match="x: got shape"):
        layer(draw(2, 7, 8, 8, 8, 8))


def model() -> nn.Sequential:
    torch.manual_seed(0)
    shared = nn.Conv2d(4, 4, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(256, 5)
    ).eval()


def test_a_model_and_back() -> None:
    net = model()
    x = draw(2, 3, 8, 8)
    expected = net(x)
    state = copy.deepcopy(net.state_dict())
    net[6].weight.requires_grad_(False)
    assert bf.nn.bayesian(net) is net
    assert isinstance(net[2], bf.nn.BayesianConv2d)
    assert net[2] is net[4]
    assert not net[6].weight_mu.requires_grad
    assert torch.equal(net(x), expected)
    net[0].train()
    assert not torch.equal(net(x), net(x))
    bf.nn.plain(net.eval())
    assert list(net.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_only_the_layers_that_are_named() -> None:
    net = bf.nn.bayesian(model(), layers=["6", "9*"])
    assert isinstance(net, nn.Sequential)
    assert [type(net[i]).__name__ for i in (0, 6)] == ["Conv2d", "BayesianLinear"]


def test_moped() -> None:
    plain = nn.Linear(3, 2).double()
    with torch.no_grad():
        plain.weight[0, 0] = 0.0
    layer: Any = bf.nn.bayesian(copy.deepcopy(plain), moped=0.25, prior_sigma=2.0)
    sigma = nn.functional.softplus(layer.weight_rho)
    torch.testing.assert_close(sigma, (0.25 * plain.weight.abs()).clamp_min(1e-6), rtol=1e-9, atol=0.0)
    assert torch.equal(layer.weight_prior_mu, plain.weight)
    assert torch.equal(layer.bias_prior_mu, plain.bias)
    torch.testing.assert_close(nn.functional.softplus(layer.weight_prior_rho), torch.full((2, 3), 2.0).double())
    # KL(N(w, s²) ‖ N(w, 4)), by hand.
    s = torch.cat([sigma.flatten(), nn.functional.softplus(layer.bias_rho)])
    torch.testing.assert_close(layer.kl(), ((2.0 / s).log() + s**2 / 8 - 0.5).sum())


class Standardized(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


class Absolute(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight.abs(), bias)


class Adapted(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 4)
        self.scale = nn.Parameter(torch.ones(1))


def hooked() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda m, i, y: 2 * y)
    return layer


def wrapped() -> nn.Module:
    layer = nn.Linear(4, 4)
    layer.forward = lambda x: x  # type: ignore[method-assign]
    return layer


def tied() -> nn.Module:
    net = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    return net


def quantized() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Standardized(3, 8, 3), "got Standardized with a forward of its own, expected Conv2d itself"),
        (lambda: Absolute(3, 8, 3), "got Absolute with a _conv_forward of its own"),
        (Adapted, "got Adapted with scale, expected a weight and a bias alone"),
        (hooked, r"got Linear with hooks \(forward_hooks\)"),
        (wrapped, "got Linear with a forward of its own"),
        (lambda: parametrizations.weight_norm(nn.Linear(4, 4)), "whose weights are parametrized"),
        (lambda: parametrizations.spectral_norm(nn.Conv1d(4, 4, 3)), "whose weights are parametrized"),
        (lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", 0.5), "got Linear with hooks"),
        (lambda: nn.LazyLinear(4), "LazyLinear"),
        (lambda: nn.Linear(4, 4).half(), "got Linear of"),
        (quantized, "expected no quantized layer"),
        (tied, "1: got a layer that shares its weights with another"),
        (lambda: nn.MultiheadAttention(4, 2), "out_proj: got a layer of MultiheadAttention, which reads its weights"),
        (lambda: nn.Sequential(nn.ReLU()), "got Sequential without a layer to convert"),
        (lambda: nn.Embedding(4, 4), "got Embedding without a layer to convert"),
    ],
)
def test_what_cannot_be_represented_is_refused(build: Callable[[], nn.Module], message: str) -> None:
    net = nn.ModuleDict({"good": nn.Linear(4, 4)})
    bad = build()
    with pytest.raises(InputError, match=message):
        bf.nn.bayesian(bad)
    if "without" not in message:
        net["bad"] = bad
        with pytest.raises(InputError, match="^bad"):
            bf.nn.bayesian(net)
        assert type(net["good"]) is nn.Linear


def test_the_kind_of_layer_is_checked() -> None:
    with pytest.raises(InputError, match="layer: got Conv1d, expected Conv2d"):
        bf.nn.BayesianConv2d.from_conv2d(nn.Conv1d(4, 4, 3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="layer: got ConvTranspose2d, expected Linear"):
        bf.nn.BayesianLinear.from_linear(nn.ConvTranspose2d(4, 4, 3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="moped: got 0.0, expected a finite number > 0"):
        bf.nn.bayesian(nn.Linear(4, 4), moped=0.0)
    with pytest.raises(InputError, match="model: got Linear without a Bayesian layer"):
        bf.nn.plain(nn.Linear(4, 4))
    with pytest.raises(InputError, match=r"key: got int 0, expected an int64 tensor"):
        bf.nn.seed(bf.nn.BayesianLinear(2, 2), 0)  # type: ignore[arg-type]
