"""θ = μ + softplus(ρ)·ε, beside the same line in PyTorch, with PyTorch's own noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from base_fast.reference.gaussian_sample import gaussian_sample as reference
from benchmarks.case import Case, Contender, Outputs, Run, gradients, public
from benchmarks.compiled import compiled
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import Faster
from benchmarks.weights import Weights

Formula = Callable[[Tensor, Tensor], Tensor]


def plain(mu: Tensor, rho: Tensor) -> Tensor:
    return mu + softplus(rho) * torch.randn_like(mu)


def addcmul(mu: Tensor, rho: Tensor) -> Tensor:
    return torch.addcmul(mu, softplus(rho), torch.randn_like(mu))


def forward(w: Weights, sample: Formula) -> Outputs:
    with torch.no_grad():
        return {"theta": sample(w.mu, w.rho)}


def both(w: Weights, sample: Formula) -> Outputs:
    return gradients({"theta": sample(w.mu, w.rho)}, {"theta": w.grad}, w.leaves)


def case(name: str, work: Callable[[Weights, Formula], Outputs], moved: int, *targets: Faster) -> Case:
    """`moved`: (P,) vectors that have to be read or written."""

    def ours(w: Weights) -> Run:
        op = public("ops.gaussian_sample")
        return lambda: work(w, lambda mu, rho: op(mu, rho, w.key))

    def opponent(formula: Formula) -> Contender:
        return Contender(lambda w: lambda: work(w, formula))

    def by_inductor(w: Weights) -> Run:
        formula = compiled(plain)
        return lambda: work(w, formula)

    def expected(w: Weights) -> Outputs:
        double = w.double()
        return work(double, lambda mu, rho: reference(mu, rho, w.key))

    return Case(
        op="gaussian_sample",
        name=name,
        setup=Weights.of,
        expected=expected,
        ours=Contender(ours),
        opponents={"eager": opponent(plain), "addcmul": opponent(addcmul), "torch.compile": Contender(by_inductor)},
        sizes={"p": 10_000_000},
        quick={"p": 10_000},
        noisy=frozenset({"theta", "grad rho"}),
        floor=lambda w: moved * w.mu.nbytes,
        targets=targets,
    )


CASES = (case("forward", forward, 3, Faster(15.0, "eager")), case("forward + backward", both, 6))

test_gaussian_sample = pytest_benchmark(CASES)
