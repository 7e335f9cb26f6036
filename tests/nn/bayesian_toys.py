"""What the tests of the Bayesian layers share: pairs of a plain and a Bayesian layer, a small model, and the KL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softplus

import base_fast as bf
from base_fast.nn import BayesianConv2d, BayesianLayer, BayesianLinear

CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 3},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2), "bias": False},
    {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
    {"kernel_size": (3, 4), "padding": "same", "padding_mode": "circular"},
    {"kernel_size": 3, "padding": (2, 1), "stride": 2, "padding_mode": "reflect"},
    {"kernel_size": 1, "padding": "valid", "groups": 4},
]
PAIRS: list[tuple[Callable[..., nn.Module], Callable[..., BayesianLayer], tuple[int, ...]]] = [
    (lambda **k: nn.Linear(5, 3, **k), lambda **k: BayesianLinear(5, 3, **k), (2, 5)),
    (lambda **k: nn.Linear(5, 3, bias=False, **k), lambda **k: BayesianLinear(5, 3, bias=False, **k), (4, 2, 5)),
    *(
        (lambda c=c, **k: nn.Conv2d(4, 8, **c, **k), lambda c=c, **k: BayesianConv2d(4, 8, **c, **k), (2, 4, 7, 6))
        for c in CONVOLUTIONS
    ),
]
every_layer = pytest.mark.parametrize(("plain", "ours", "shape"), PAIRS)
both_layers = pytest.mark.parametrize(("plain", "ours", "shape"), [PAIRS[0], PAIRS[2]], ids=["linear", "conv2d"])


def model(**arguments: Any) -> nn.Sequential:
    return nn.Sequential(
        BayesianConv2d(2, 3, 3, padding=1, **arguments),
        nn.ReLU(),
        nn.Flatten(),
        BayesianLinear(3 * 4 * 4, 5, **arguments),
        nn.Tanh(),
        BayesianLinear(5, 3, bias=False, **arguments),
    )


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


X = torch.linspace(-1, 1, 2 * 2 * 4 * 4).view(2, 2, 4, 4)
KEY = bf.random.key(7)


def expected_kl(layer: BayesianLayer) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for name in ("weight", "bias") if layer.bias_mu is not None else ("weight",):
        mu, rho, prior_mu, prior_rho = (
            getattr(layer, f"{name}_{part}").detach() for part in ("mu", "rho", "prior_mu", "prior_rho")
        )
        total += kl_divergence(Normal(mu, softplus(rho)), Normal(prior_mu, softplus(prior_rho))).sum()
    return total
