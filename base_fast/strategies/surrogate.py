"""A recurrent network that learns from measured genotypes how others will do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from base_fast.arguments import positive, whole_numbers
from base_fast.errors import InputError
from base_fast.meta import StepRule
from base_fast.meta.rules import initial_slots, step
from base_fast.objectives import normal_scores
from base_fast.reference import philox
from base_fast.space import AnySpace


@dataclass(frozen=True)
class Surrogate:
    """Settings of the regressor: an LSTM reads a genotype's choices edge by edge, and says its value.

    A token is the primitive on an edge, with an input to the gates for each edge and primitive. Values are learned as
    normal scores, so that some cells far below the others do not use up the scale, by the squared error on all at once,
    with Adam; several members start from different weights, and their mean counts. It is fitted anew whenever it is
    asked, from the key alone.

    Source: the regressor of Dong et al., "DPP-Net: Device-Aware Progressive Search for Pareto-Optimal Neural
    Architectures", ECCV 2018, a recurrent network as that of Liu et al., "Progressive Neural Architecture Search", ECCV
    2018; its sizes are chosen here.
    """

    hidden: int = 16
    """Units of the LSTM."""
    steps: int = 80
    """Steps of a fit."""
    lr: float = 0.03
    """Learning rate of Adam."""
    decay: float = 1e-3
    """Weight of the squared weights in the loss."""
    members: int = 4
    """Networks whose mean is taken."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("hidden", "steps", "members"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")
        positive("lr", self.lr)
        if self.decay != 0.0:
            positive("decay", self.decay)

    def predict(self, space: AnySpace, choices: Tensor, values: Tensor, others: Tensor, key: Tensor) -> Tensor:
        """Scores (m,) float64, the larger the better, of others (m, T, E), after values (n,) of choices (n, T, E)."""
        targets = normal_scores(values).float()
        tokens = len(space.cell_types) * space.num_edges
        # Inputs of the gates by edge and primitive; the gates' weights of the state; the weights of the value.
        shapes = ((tokens, space.num_primitives, 4 * self.hidden), (self.hidden, 4 * self.hidden), (self.hidden, 1))
        sizes = [self.members * math.prod(shape) for shape in shapes]
        weights = philox.normal(key, sum(sizes)) / math.sqrt(self.hidden)
        rule = StepRule("adam", self.lr)
        slots = initial_slots(rule, weights)

        def scores(flat: Tensor, read: Tensor) -> Tensor:
            parts = [x.view(self.members, *shape) for x, shape in zip(flat.split(sizes), shapes, strict=True)]
            return _value(read.flatten(1), *parts)

        for _ in range(self.steps):
            weights = weights.detach().requires_grad_(True)
            error = (scores(weights, choices) - targets).square().mean(dim=1).sum()
            (gradient,) = torch.autograd.grad(error + self.decay * weights.square().sum(), weights)
            weights, slots = step(rule, self.lr, weights.detach(), gradient, slots)
        return scores(weights, others).double().mean(dim=0)


def _value(read: Tensor, inputs: Tensor, recurrent: Tensor, value: Tensor) -> Tensor:
    """(n, S) primitives; (M, S, L, 4H), (M, H, 4H), (M, H, 1) → (M, n): what M LSTMs say at the end."""
    hidden = cell = inputs.new_zeros(len(inputs), len(read), recurrent.shape[1])
    for place in range(read.shape[1]):
        gates = inputs[:, place].index_select(1, read[:, place]) + hidden @ recurrent
        write, keep, out, new = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(keep + 1.0) * cell + torch.sigmoid(write) * torch.tanh(new)
        hidden = torch.sigmoid(out) * torch.tanh(cell)
    return (hidden @ value).squeeze(-1)
