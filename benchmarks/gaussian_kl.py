"""KL of two diagonal Gaussians with its gradients, beside the closed form in PyTorch and torch.distributions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softplus

from base_fast.reference.gaussian_kl import gaussian_kl as reference
from benchmarks.case import Case, Contender, Outputs, Run, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.weights import Weights

Formula = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def plain(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> Tensor:
    sigma, prior_sigma = softplus(rho), softplus(prior_rho)
    ratio = (sigma / prior_sigma).square()
    return 0.5 * (ratio + ((mu - prior_mu) / prior_sigma).square() - 1.0 - ratio.log()).sum()


def distributions(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> Tensor:
    q = Normal(mu, softplus(rho), validate_args=False)
    return kl_divergence(q, Normal(prior_mu, softplus(prior_rho), validate_args=False)).sum()


def work(w: Weights, kl: Formula) -> Outputs:
    value = kl(w.mu, w.rho, w.prior_mu, w.prior_rho)
    return gradients({"kl": value}, {"kl": torch.ones_like(value)}, w.leaves)


def ours(w: Weights) -> Run:
    op = public("ops.gaussian_kl")
    return lambda: work(w, op)


def opponent(formula: Formula) -> Contender:
    return Contender(lambda w: lambda: work(w, formula))


def by_inductor(w: Weights) -> Run:
    formula = compiled(plain)
    return lambda: work(w, formula)


CASES = (
    Case(
        op="gaussian_kl",
        name="forward + backward",
        setup=Weights.of,
        expected=lambda w: work(w.double(), reference),
        ours=Contender(ours),
        opponents={
            "eager": opponent(plain),
            "torch.distributions": opponent(distributions),
            "torch.compile": Contender(by_inductor),
        },
        sizes={"p": 10_000_000},
        quick={"p": 10_000},
        # Four vectors read by the forward pass; the same read and two written by the backward pass.
        floor=lambda w: 10 * w.mu.nbytes,
    ),
)

test_gaussian_kl = pytest_benchmark(CASES)
