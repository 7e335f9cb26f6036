"""A step of the DARTS supernet: logits, loss and all gradients, of flat weights beside ordinary modules.

The opponent is the published search network on channels-last images, not the fastest that PyTorch can do: of a single
edge `mixed_op` has rewrites and torch.compile. The whole network did not compile within ten minutes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from base_fast.random import key
from base_fast.supernet import Supernet
from benchmarks.aims import Aim
from benchmarks.case import Case, Contender, Outputs, Run, gradients, public
from benchmarks.harness import pytest_benchmark
from benchmarks.plain_darts import PlainDarts, PlainMixedOp, name_in_supernet
from benchmarks.targets import OURS, Faster, LessSaved, SmallerProcess
from benchmarks.threads import on_one_thread

CLASSES = 10
SIZES = MappingProxyType({"channels": 16, "layers": 8, "height": 32})
QUICK = MappingProxyType({"batch": 3, "channels": 4, "layers": 3, "height": 8})
MODULES, SOFT = "channels-last modules", "base_fast, soft"
STORE_BF16, RECOMPUTE = "base_fast, store_bf16", "base_fast, recompute"
ONE_THREAD = "base_fast, one thread"
# Errors of float32, where PyTorch's own happens to be smaller; a loss of 2.3 is one number.
ROUNDING = 1e-6
# Hundreds of ReLUs open or close by rounding; PyTorch's own gradients are off by 1e-3 and more.
SANE, SANE_BFLOAT16 = 5e-2, 0.25


@dataclass(frozen=True)
class Step:
    """Images (B, 3, H, W), labels (B,), flat weights (P,), the edges' weights z (2, 14, 8); modules of the same."""

    x: Tensor
    labels: Tensor
    theta: Tensor
    z: Tensor
    plain: PlainDarts
    supernet: Supernet

    @classmethod
    def of(cls, batch: int, channels: int, layers: int, height: int, hard: bool) -> Step:
        supernet = Supernet("darts", channels, layers, CLASSES)
        prior = supernet.prior(key(0), mu_scale=1.0)
        theta = prior.mu.clone()
        # A head of zeros, as the prior has it, would leave all other weights without a gradient.
        theta[supernet.head] = torch.randn(theta[supernet.head].shape).mul_(0.1)
        plain = PlainDarts(channels, layers, CLASSES)
        named = supernet.layout.named(theta)
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                parameter.copy_(named[name_in_supernet(name)])
        x = torch.randn(batch, 3, height, height).contiguous(memory_format=torch.channels_last)
        z = one_hot(prior.alpha) if hard else torch.softmax(torch.randn(prior.alpha.shape), -1)
        plain.to(memory_format=torch.channels_last)
        return cls(x, torch.arange(batch) % CLASSES, theta.requires_grad_(), z.requires_grad_(), plain, supernet)

    def with_memory(self, memory: str) -> Step:
        config = self.supernet.config
        supernet = public("supernet.Supernet", "memory")(
            "darts", config.channels, config.layers, CLASSES, memory=memory
        )
        return replace(self, supernet=supernet)

    def soft(self) -> Step:
        return replace(self, z=torch.full_like(self.z, 1.0 / self.z.shape[-1]).requires_grad_())


def one_hot(z: Tensor) -> Tensor:
    """A sample with every primitive on equally many edges, as near as it goes."""
    edges = z.shape[0] * z.shape[1]
    choice = (torch.arange(edges) % z.shape[2])[torch.randperm(edges)]
    return F.one_hot(choice, z.shape[2]).view(z.shape).to(z.dtype)


def ours(s: Step, hard: bool = False) -> Run:
    def run() -> Outputs:
        loss = F.cross_entropy(s.supernet(s.x, s.theta, s.z, hard), s.labels)
        return gradients({"loss": loss}, {"loss": torch.ones(())}, {"theta": s.theta, "z": s.z})

    return run


def by_block(s: Step, result: Outputs) -> Outputs:
    """The gradient of the flat weights cut into those of stem, cells and head, each with an error of its own."""
    theta = result["grad theta"].detach()
    blocks: dict[str, list[Tensor]] = {}
    for name, part in s.supernet.layout.named(theta).items():
        blocks.setdefault(".".join(name.split(".")[:2]), []).append(part.flatten())
    rest = {name: value for name, value in result.items() if name != "grad theta"}
    return {**rest, **{f"grad {name}": torch.cat(parts) for name, parts in blocks.items()}}


def modules(s: Step) -> Run:
    return partial(step_of_modules, s, s.plain)


def step_of_modules(s: Step, network: nn.Module) -> list[Tensor]:
    loss = F.cross_entropy(network(s.x, s.z), s.labels)
    leaves = [s.z, *s.plain.parameters()]
    return [loss, *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)]


def read_modules(s: Step, result: list[Tensor]) -> Outputs:
    """Gradients of blocks of the flat weights; of a hard sample's z, those of the chosen alone."""
    loss, z, *gradients = result
    theta = torch.zeros_like(s.theta, dtype=loss.dtype)
    named = s.supernet.layout.named(theta)
    for (name, _), gradient in zip(s.plain.named_parameters(), gradients, strict=True):
        named[name_in_supernet(name)].copy_(gradient)
    hard = bool((s.z.detach().amax(-1) == 1.0).all())
    return by_block(s, {"loss": loss, "grad theta": theta, "grad z": z * s.z.detach() if hard else z})


class Chosen(nn.Module):
    """An edge that executes one of its primitives."""

    def __init__(self, edge: PlainMixedOp, l: int) -> None:
        super().__init__()
        self.op, self.l = edge._ops[l], l

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return weights[self.l] * self.op(x)


def chosen_modules(s: Step) -> Run:
    """The same parameters, in a network whose edges execute the chosen primitive alone."""
    network = copy.copy(s.plain)
    network._modules = dict(s.plain._modules)
    cells = []
    for cell, reduction in zip(s.plain.cells, s.plain.reductions, strict=True):
        cells.append(copy.copy(cell))
        choice = s.z[int(reduction)].argmax(-1).tolist()
        edges = nn.ModuleList(Chosen(edge, l) for edge, l in zip(cell._ops, choice, strict=True))
        cells[-1]._modules = {**cell._modules, "_ops": edges}
    network._modules["cells"] = nn.ModuleList(cells)
    return partial(step_of_modules, s, network)


def rounded_otherwise(build: Callable[[Step], Run]) -> dict[str, Contender]:
    """The same loss and gradients from the images in other orders, which round otherwise.

    A network of hundreds of ReLUs makes the error of one run a matter of chance: three of them say how large it may be.
    """

    def rolled(i: int) -> Contender:
        def built(s: Step) -> Run:
            x = s.x.roll(i, 0).contiguous(memory_format=torch.channels_last)
            return build(replace(s, x=x, labels=s.labels.roll(i, 0)))

        return Contender(built, read_modules)

    return {f"images from the {i + 1}. on": rolled(i) for i in (1, 2)}


class CellByCell(nn.Module):
    """The network with every cell computed again in the backward pass, so that float64 fits into memory."""

    def __init__(self, plain: PlainDarts) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        before = last = self.plain.stem(x)
        for cell, reduction in zip(self.plain.cells, self.plain.reductions, strict=True):
            before, last = last, checkpoint(cell, before, last, z[int(reduction)], use_reentrant=False)
        return self.plain.classifier(last.mean(dim=(2, 3)))


def expected(s: Step) -> Outputs:
    """The modules in float64, on contiguous images: more than twice as fast as channels-last ones."""
    plain = copy.deepcopy(s.plain).double().to(memory_format=torch.contiguous_format)
    double = replace(s, x=s.x.double().contiguous(), z=s.z.detach().double().requires_grad_(), plain=plain)
    return read_modules(double, step_of_modules(double, CellByCell(plain)))


MEASURED_BY = (MODULES, *rounded_otherwise(modules))


def case(batch: int, name: str, opponent: Callable[[Step], Run], **rest: Any) -> Case:
    return Case(
        op="supernet_step",
        name=name,
        expected=expected,
        opponents={MODULES: Contender(opponent, read_modules, tolerance=SANE)},
        yardsticks=rounded_otherwise(opponent),
        sizes={"batch": batch, **SIZES},
        quick=QUICK,
        tolerance=ROUNDING,
        by_mean=True,
        rounds=3,
        **rest,
    )


def soft(batch: int, **rest: Any) -> Case:
    return case(
        batch,
        "loss, gradients",
        modules,
        setup=partial(Step.of, hard=False),
        ours=Contender(ours, by_block, yardstick=MEASURED_BY),
        variants={
            STORE_BF16: Contender(lambda s: ours(s.with_memory("store_bf16")), by_block, tolerance=SANE_BFLOAT16),
            RECOMPUTE: Contender(lambda s: ours(s.with_memory("recompute")), by_block, yardstick=MEASURED_BY),
            ONE_THREAD: Contender(on_one_thread(ours), by_block, yardstick=MEASURED_BY),
        },
        **rest,
    )


def hard(batch: int) -> Case:
    return case(
        batch,
        "hard sample, loss, gradients",
        chosen_modules,
        setup=partial(Step.of, hard=True),
        ours=Contender(partial(ours, hard=True), by_block, yardstick=MEASURED_BY),
        variants={SOFT: Contender(lambda s: ours(s.soft()), other_work="every primitive of every edge")},
        in_process=False,
    )


STEPS = (soft(16), soft(64, in_process=False, processes=(OURS, STORE_BF16, RECOMPUTE, MODULES)))
HARD_STEPS = (hard(16), hard(64))
CASES = (*STEPS, *HARD_STEPS)
AIMS = (
    Aim("supernet step, batch 16", STEPS[:1], Faster(6.5, MODULES), beyond=8.0),
    Aim("supernet step, batch 64", STEPS[1:], Faster(6.5, MODULES), beyond=8.0),
    Aim("supernet step, hard sample, batch 16", HARD_STEPS[:1], Faster(4.0, SOFT), beyond=6.0),
    Aim("supernet step, hard sample, batch 64", HARD_STEPS[1:], Faster(4.0, SOFT), beyond=6.0),
    Aim("supernet step, batch 16", STEPS[:1], LessSaved(4.3, MODULES)),
    Aim("supernet step, batch 16", STEPS[:1], LessSaved(7.5, MODULES, by=STORE_BF16)),
    Aim("supernet step, batch 16", STEPS[:1], LessSaved(28.0, MODULES, by=RECOMPUTE)),
    Aim("supernet step, batch 64", STEPS[1:], SmallerProcess(3.8, MODULES)),
    Aim("supernet step, batch 64", STEPS[1:], SmallerProcess(8.0, MODULES, by=RECOMPUTE)),
    Aim("supernet step, on two threads", STEPS, Faster(1.8, ONE_THREAD)),
)

test_supernet_step = pytest_benchmark(CASES)
