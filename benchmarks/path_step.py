"""A hard sample of the NAS-Bench-201 supernet: one path's loss and gradients, and its logits alone.

The opponent runs the same layers of the same path, none besides, as one writes them in PyTorch: channels-last, every
weight a leaf of its own. Convolutions are PyTorch's on both sides; what differs is all that lies around them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.random import key
from base_fast.space import NAS_BENCH_201
from base_fast.supernet import Supernet
from benchmarks.aims import Aim
from benchmarks.case import Case, Contender, Outputs
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import Faster
from benchmarks.threads import on_one_thread
from benchmarks.timing import Run

CLASSES, LAYERS, REDUCTIONS = 10, 5, (1, 3)
LAYERS_PLAIN = "the path's layers, channels-last"
ONE_THREAD = "base_fast, one thread"
# Dozens of ReLUs open or close by rounding.
SANE = 5e-2
# Every primitive, a node's worth of each; `none` on one edge.
PATH = (3, 2, 4, 1, 3, 0)
QUICK = MappingProxyType({"batch": 4, "channels": 4, "height": 8})


@dataclass(frozen=True)
class PathStep:
    """Images (B, 3, H, W), labels (B,), flat weights (P,), z (1, 6, 5) of the path."""

    x: Tensor
    labels: Tensor
    theta: Tensor
    z: Tensor
    supernet: Supernet

    @classmethod
    def of(cls, batch: int, channels: int, height: int) -> PathStep:
        supernet = Supernet(NAS_BENCH_201, channels, LAYERS, CLASSES, reductions=REDUCTIONS)
        theta = supernet.prior(key(0), mu_scale=1.0).mu.clone()
        # A head of zeros, as the prior has it, would leave all other weights without a gradient.
        theta[supernet.head] = torch.randn(theta[supernet.head].shape).mul_(0.1)
        x = torch.randn(batch, 3, height, height).contiguous(memory_format=torch.channels_last)
        z = F.one_hot(torch.tensor([PATH]), NAS_BENCH_201.num_primitives).float()
        return cls(x, torch.arange(batch) % CLASSES, theta, z, supernet)

    def leaves(self) -> dict[str, Tensor]:
        named = self.supernet.layout.named(self.theta)
        return {name: w.detach().clone().requires_grad_() for name, w in named.items()}


def normed(x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    return F.batch_norm(x, None, None, scale, shift, training=True)


def cell(x: Tensor, w: dict[str, Tensor], prefix: str) -> Tensor:
    nodes: list[Tensor] = [x]
    for e, ((p, node), l) in enumerate(zip(NAS_BENCH_201.edges, PATH, strict=True)):
        primitive, source = NAS_BENCH_201.primitives[l], nodes[p]
        if primitive == "none":
            continue
        if primitive.startswith("nor_conv"):
            weight = w[f"{prefix}._ops.{e}._ops.{l}.op.1.weight"]
            y = normed(F.conv2d(F.relu(source), weight, padding=weight.shape[-1] // 2))
        elif primitive == "avg_pool_3x3":
            y = normed(F.avg_pool2d(source, 3, 1, 1, count_include_pad=False))
        else:
            y = source
        nodes[node:] = [nodes[node] + y if node < len(nodes) else y]
    return nodes[-1]


def reduction(x: Tensor, w: dict[str, Tensor], prefix: str) -> Tensor:
    y = normed(F.conv2d(F.relu(x), w[f"{prefix}.conv_a.op.1.weight"], stride=2, padding=1))
    y = normed(F.conv2d(F.relu(y), w[f"{prefix}.conv_b.op.1.weight"], padding=1))
    return y + F.conv2d(F.avg_pool2d(x, 2), w[f"{prefix}.downsample.1.weight"])


def network(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    x = F.conv2d(x, w["stems.32.0.conv.weight"], padding=1)
    x = normed(x, w["stems.32.0.bn.weight"], w["stems.32.0.bn.bias"])
    for i in range(LAYERS):
        x = (reduction if i in REDUCTIONS else cell)(x, w, f"cells.{i}")
    return F.linear(F.relu(normed(x)).mean((2, 3)), w["classifier.weight"], w["classifier.bias"])


def flat(s: PathStep, result: tuple[Tensor, dict[str, Tensor]]) -> Outputs:
    """The loss, and the gradients as the supernet's one vector."""
    loss, found = result
    return {"loss": loss, "grad theta": torch.cat([found[name].flatten() for name in s.supernet.layout.names])}


def plain_step(s: PathStep) -> Run:
    w = s.leaves()

    def run() -> tuple[Tensor, dict[str, Tensor]]:
        loss = F.cross_entropy(network(s.x, w), s.labels)
        found = torch.autograd.grad(loss, list(w.values()), allow_unused=True, materialize_grads=True)
        return loss, dict(zip(w, found, strict=True))

    return run


def step(s: PathStep) -> Run:
    theta = s.theta.detach().requires_grad_()

    def run() -> Outputs:
        loss = F.cross_entropy(s.supernet(s.x, theta, s.z, hard=True), s.labels)
        return {"loss": loss, "grad theta": torch.autograd.grad(loss, theta)[0]}

    return run


def plain_score(s: PathStep) -> Run:
    w = s.leaves()

    def run() -> Outputs:
        with torch.no_grad():
            return {"logits": network(s.x, w)}

    return run


def score(s: PathStep) -> Run:
    def run() -> Outputs:
        with torch.no_grad():
            return {"logits": s.supernet(s.x, s.theta, s.z, hard=True)}

    return run


def double(s: PathStep) -> PathStep:
    return replace(s, x=s.x.double(), theta=s.theta.double())


def case(name: str, channels: int, batch: int, scored: bool) -> Case:
    ours, opponent = (score, plain_score) if scored else (step, plain_step)
    read = (lambda _, result: result) if scored else flat
    return Case(
        op="path_step",
        name=name,
        setup=PathStep.of,
        expected=lambda s: read(double(s), opponent(double(s))()),
        ours=Contender(ours, tolerance=SANE),
        opponents={LAYERS_PLAIN: Contender(opponent, read, tolerance=SANE)},
        variants={ONE_THREAD: Contender(on_one_thread(ours), tolerance=SANE)},
        sizes={"batch": batch, "channels": channels, "height": 16},
        quick=QUICK,
        by_mean=True,
        in_process=False,
    )


STEPS = tuple(case("a path's loss, gradients", channels, 64, scored=False) for channels in (16, 8))
SCORES = tuple(case("a path's logits", channels, 256, scored=True) for channels in (16, 8))
CASES = (*STEPS, *SCORES)
AIMS = (
    Aim("step of a path", STEPS, Faster(2.0, LAYERS_PLAIN)),
    Aim("logits of a path", SCORES, Faster(2.0, LAYERS_PLAIN)),
)

test_path_step = pytest_benchmark(CASES)
