"""One inner step's view of the weights: θ, its KL against a tensor prior, and both gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from base_fast.reference.gaussian_kl import gaussian_kl as reference_kl
from base_fast.reference.gaussian_sample import gaussian_sample as reference_sample
from benchmarks import gaussian_kl, gaussian_sample
from benchmarks.case import Case, Contender, Outputs, Run, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import ExtraMemory, Faster
from benchmarks.weights import Weights

Formula = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
P = 10_000_000


def plain(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> tuple[Tensor, Tensor]:
    return gaussian_sample.plain(mu, rho), gaussian_kl.plain(mu, rho, prior_mu, prior_rho)


def work(w: Weights, sample_kl: Formula) -> Outputs:
    theta, kl = sample_kl(w.mu, w.rho, w.prior_mu, w.prior_rho)
    return gradients({"theta": theta, "kl": kl}, {"theta": w.grad, "kl": torch.ones_like(kl)}, w.leaves)


def expected(w: Weights) -> Outputs:
    def reference(mu: Tensor, rho: Tensor, prior_mu: Tensor, prior_rho: Tensor) -> tuple[Tensor, Tensor]:
        return reference_sample(mu, rho, w.key), reference_kl(mu, rho, prior_mu, prior_rho)

    return work(w.double(), reference)


def ours(w: Weights) -> Run:
    op = public("ops.gaussian_sample_kl")
    return lambda: work(w, lambda *tensors: op(*tensors, w.key))


def by_inductor(w: Weights) -> Run:
    formula = compiled(plain)
    return lambda: work(w, formula)


CASES = (
    Case(
        op="gaussian_sample_kl",
        name="forward + backward",
        setup=Weights.of,
        expected=expected,
        ours=Contender(ours),
        opponents={"eager": Contender(lambda w: lambda: work(w, plain)), "torch.compile": Contender(by_inductor)},
        sizes={"p": P},
        quick={"p": 10_000},
        noisy=frozenset({"theta", "grad rho"}),
        # Forward: four vectors read, θ written. Backward: the four and θ's gradient read, two gradients written.
        floor=lambda w: 12 * w.mu.nbytes,
        # θ's gradient comes from the network and is there before the call.
        targets=(Faster(10.0, "eager"), ExtraMemory(4 * P, "θ")),
    ),
)

test_gaussian_sample_kl = pytest_benchmark(CASES)
