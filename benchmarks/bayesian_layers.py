"""Bayesian layers with all gradients, beside the plain layers that they replace and, where installed, bayesian-torch.

The plain layers do less: they draw nothing. bayesian-torch is timed without its KL, which ours does not compute either.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.nn.own_key import ahead
from base_fast.reference.gaussian_sample import gaussian_sample as reference
from benchmarks.case import Absent, Case, Contender, Outputs, Run, gradients, public
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import AtMost

PLAIN = "draws no weights"
GAUSSIANS = ("weight_mu", "weight_rho", "bias_mu", "bias_rho")


@dataclass(frozen=True)
class Layer:
    """A Bayesian layer, the plain one with its means, an input and the output's gradient."""

    bayesian: nn.Module
    plain: nn.Module
    x: Tensor
    grad: Tensor
    apply: Callable[..., Tensor]

    @classmethod
    def linear(cls, features: int, batch: int) -> Layer:
        layer = public("nn.BayesianLinear")(features, features)
        x, grad = torch.randn(batch, features), torch.randn(batch, features)
        return cls(layer, layer.mean_layer(), x.requires_grad_(), grad, F.linear)

    @classmethod
    def conv2d(cls, channels: int, batch: int, height: int) -> Layer:
        layer = public("nn.BayesianConv2d")(channels, channels, 3, padding=1)
        x, grad = (torch.randn(batch, channels, height, height) for _ in range(2))
        return cls(layer, layer.mean_layer(), x.requires_grad_(), grad, partial(F.conv2d, padding=1))


def work(s: Layer, y: Tensor, leaves: dict[str, Tensor]) -> Outputs:
    return gradients({"y": y}, {"y": s.grad.to(y.dtype)}, leaves)


def ours(s: Layer) -> Run:
    # A copy: in training, the layer's own key moves on with every pass.
    layer = copy.deepcopy(s.bayesian).train()
    leaves = {"x": s.x, **{name: layer.get_parameter(name) for name in GAUSSIANS}}
    return lambda: work(s, layer(s.x), leaves)


def plain(s: Layer) -> Run:
    leaves = {"x": s.x, **dict(s.plain.named_parameters())}
    return lambda: work(s, s.plain(s.x), leaves)


def bayesian_torch(s: Layer) -> Run:
    try:
        from bayesian_torch.layers import LinearReparameterization
    except ImportError:
        raise Absent("bayesian-torch is not installed") from None
    features = s.x.shape[-1]
    layer: Any = LinearReparameterization(features, features)
    # Its names: mu_weight, ...
    leaves = {"x": s.x}
    with torch.no_grad():
        for name in GAUSSIANS:
            what, _, which = name.partition("_")
            leaves[name] = layer.get_parameter(f"{which}_{what}")
            leaves[name].copy_(s.bayesian.get_parameter(name))
    return lambda: work(s, layer(s.x, return_kl=False), leaves)


def expected(s: Layer) -> Outputs:
    """Weight and bias drawn by the reference in float64, with the noise that the layer's first pass takes."""
    drawn = {name: s.bayesian.get_parameter(name).detach().double().requires_grad_() for name in GAUSSIANS}
    x = s.x.detach().double().requires_grad_()
    key = s.bayesian.get_buffer("key").clone()
    weight = reference(drawn["weight_mu"], drawn["weight_rho"], key)
    bias = reference(drawn["bias_mu"], drawn["bias_rho"], ahead(key, weight.numel()))
    return work(s, s.apply(x, weight, bias), {"x": x, **drawn})


CASES = (
    Case(
        op="bayesian_layers",
        name="BayesianLinear, forward + backward",
        setup=Layer.linear,
        expected=expected,
        ours=Contender(ours),
        opponents={"nn.Linear": Contender(plain, other_work=PLAIN), "bayesian-torch": Contender(bayesian_torch)},
        sizes={"features": 2048, "batch": 32},
        quick={"features": 64, "batch": 8},
        tolerance=2e-5,
        noisy=frozenset({"y", "grad x", "grad weight_rho", "grad bias_rho"}),
        targets=(AtMost(2.5, "nn.Linear"),),
    ),
    Case(
        op="bayesian_layers",
        name="BayesianConv2d, forward + backward",
        setup=Layer.conv2d,
        expected=expected,
        ours=Contender(ours),
        opponents={"nn.Conv2d": Contender(plain, other_work=PLAIN)},
        sizes={"channels": 64, "batch": 32, "height": 16},
        quick={"channels": 4, "batch": 2, "height": 6},
        tolerance=2e-5,
        targets=(AtMost(1.1, "nn.Conv2d"),),
    ),
)

test_bayesian_layers = pytest_benchmark(CASES)
