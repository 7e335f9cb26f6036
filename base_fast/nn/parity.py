"""An edge and its fused twin on the same random batch: do they agree, and how long does each take?"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from base_fast.errors import InputError
from base_fast.nn.conduct import SAME, same_draws
from base_fast.nn.darts_edge import DartsEdge
from base_fast.nn.fused_edge import fuse

# In the model's dtype: rounding, or what PyTorch's own rounding is worth on the same batch.
ROUNDINGS = 32
TIMES_PYTORCH = 4
# A rounding that turns the sign of a normalized activation lets a ReLU pass another gradient. One in millions does, and
# where sums are short it changes the gradient of a weight by a few percent; the comparison in float64 is exact.
KINK = 0.05
ROUNDS, ENOUGH_SECONDS = 5, 3.0


@dataclass(frozen=True)
class Errors:
    """Relative errors in the Euclidean norm, the gradients' being the largest of that of x, of z and of all weights."""

    output: float
    gradient: float

    def __str__(self) -> str:
        return f"{self.output:.1e}, {self.gradient:.1e}"


@dataclass(frozen=True)
class Parity:
    """Errors against the module in float64."""

    fused64: Errors
    """Of the fused edge in float64: the difference of the two definitions."""
    fused: Errors
    """Of the fused edge, in the model's dtype and on its device."""
    pytorch: Errors
    """Of the module itself there."""


@dataclass(frozen=True)
class _Pass:
    """An edge's value and gradients."""

    y: Tensor
    x: Tensor
    z: Tensor
    weights: Tensor

    @classmethod
    def of(cls, edge: nn.Module, x: Tensor, z: Tensor, grad: Tensor) -> _Pass:
        leaves = [x.detach().requires_grad_(), z.detach().requires_grad_(), *edge.parameters()]
        with same_draws(x.device):
            y = edge(leaves[0], leaves[1])
        if not isinstance(y, Tensor) or y.shape != grad.shape:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise InputError(f"got an output of {got}, expected {tuple(grad.shape)}")
        d_x, d_z, *d_weights = torch.autograd.grad(y, leaves, grad, allow_unused=True, materialize_grads=True)
        return cls(y.detach(), d_x, d_z, torch.cat([d_z.new_empty(0), *(w.flatten() for w in d_weights)]))

    def errors(self, exact: _Pass) -> Errors:
        gradients = ((self.x, exact.x), (self.z, exact.z), (self.weights, exact.weights))
        return Errors(_error(self.y, exact.y), max(_error(*pair) for pair in gradients))


def _error(found: Tensor, exact: Tensor) -> float:
    difference = (found.to(exact) - exact).norm().nan_to_num(nan=float("inf"))
    return float(difference / exact.norm().clamp_min(torch.finfo(exact.dtype).tiny))


class Probe:
    """A random batch for an edge, the same in every run, and copies of the edge: the model itself is not touched.

    Args:
        edge: a module of the model.
        parts: one of so many parts of the channels passes the primitives.
        like: a tensor of the model's device and dtype.
        memory: what the fused copy keeps for backward.
        batch_size, resolution: x is (batch_size, C, resolution, resolution).
    """

    def __init__(
        self, edge: DartsEdge, parts: int, like: Tensor, batch_size: int, resolution: int, memory: str = "store"
    ) -> None:
        self.edge = edge
        self.plain = _copy(edge.module).to(like.device)
        self.fused = copy.deepcopy(self.plain)
        fuse(edge, self.fused, parts, memory)
        generator = torch.Generator().manual_seed(0)
        out = -(-resolution // edge.stride)
        # Drawn in the model's dtype, so that float64 sees the same numbers.
        self.x, self.grad = (
            torch.randn(batch_size, edge.channels * parts, size, size, generator=generator, device="cpu").to(like)
            for size in (resolution, out)
        )
        self.z = torch.softmax(torch.randn(len(edge.entries), generator=generator, device="cpu"), 0).to(like)

    def parity(self) -> Parity:
        """The errors of a forward and backward pass.

        Raises:
            InputError: the edges disagree, or the module cannot be called as DARTS calls it.
        """
        name = self.edge.name
        # On the CPU, as not every accelerator has float64.
        exact_x, exact_z, exact_grad = (t.to("cpu", torch.float64) for t in (self.x, self.z, self.grad))
        try:
            exact = _Pass.of(_copy(self.plain).to("cpu", torch.float64), exact_x, exact_z, exact_grad)
            pytorch = _Pass.of(self.plain, self.x, self.z, self.grad).errors(exact)
        except Exception as error:
            shapes = f"x {tuple(self.x.shape)} and weights {tuple(self.z.shape)}"
            raise InputError(f"{name}: called with {shapes}: {type(error).__name__}: {error}") from error
        fused64 = _Pass.of(_copy(self.fused).to("cpu", torch.float64), exact_x, exact_z, exact_grad)
        errors = fused64.errors(exact)
        if not max(errors.output, errors.gradient) <= SAME:
            raise InputError(
                f"{name}: got a module that is not the sum of {self._suspects(fused64.z, exact.z)}; in float64 it "
                f"differs from it by {errors} (output, gradients), expected at most {SAME:.0e}"
            )
        fused = _Pass.of(self.fused, self.x, self.z, self.grad).errors(exact)
        rounding = ROUNDINGS * torch.finfo(self.x.dtype).eps
        largest = Errors(
            max(rounding, TIMES_PYTORCH * pytorch.output), max(rounding, KINK, TIMES_PYTORCH * pytorch.gradient)
        )
        if not (fused.output <= largest.output and fused.gradient <= largest.gradient):
            raise InputError(
                f"{name}: in {self.x.dtype} the fused edge is off by {fused} (output, gradients), "
                f"PyTorch's own operations by {pytorch}; expected at most {largest}"
            )
        return Parity(errors, fused, pytorch)

    def _suspects(self, found: Tensor, exact: Tensor) -> str:
        """The primitives that show in the gradient of z, each entry of which is one primitive's alone."""
        differ = (found - exact).abs() > SAME * exact.norm()
        named = [f"{p} (`{self.edge.ops}.{i}`)" for i, p in enumerate(self.edge.entries) if differ[i]]
        return f"its primitives: {', '.join(named) or 'in its gradients'}"

    def seconds(self) -> tuple[float, float]:
        """Forward and backward of the module and of the fused edge: medians of rounds in which they take turns."""
        edges = (self.plain, self.fused)
        began = time.perf_counter()
        for edge in edges:
            self._timed(edge)
        rounds: list[list[float]] = []
        while len(rounds) < ROUNDS and (not rounds or time.perf_counter() - began < ENOUGH_SECONDS):
            rounds.append([self._timed(edge) for edge in edges])
        plain, fused = (median(times) for times in zip(*rounds, strict=True))
        return plain, fused

    def _timed(self, edge: nn.Module) -> float:
        self._wait()
        began = time.perf_counter()
        _Pass.of(edge, self.x, self.z, self.grad)
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        if self.x.is_cuda:
            torch.cuda.synchronize(self.x.device)


def _copy(edge: nn.Module) -> nn.Module:
    """For training: every parameter has a gradient, and running statistics move in the copy only."""
    return copy.deepcopy(edge).train().requires_grad_()
