"""A controller's memory: earlier samples are replayed, and its hidden states learn to say which choices led to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.distributions.controller import Controller, Trace
from base_fast.errors import InputError
from base_fast.meta import StepRule
from base_fast.meta.rules import Slots, initial_slots, step
from base_fast.random import advance
from base_fast.reference import philox
from base_fast.space import AnySpace, decisions


class MemoryState(NamedTuple):
    """key and steps: what is replayed is drawn from them. choices (m, T, E): the buffer, oldest first. decoder (D,) and
    the slots of its optimizer; it is empty where the memory is off."""

    key: Tensor
    steps: int
    choices: Tensor
    decoder: Tensor
    slots: Slots


@dataclass(frozen=True)
class Memory:
    """Settings of the memory buffer of a controller, an auxiliary loss on earlier samples.

    Every step of the controller adds λ · mean over b replayed genotypes of −Σ_t Σ_{s<t} log p(a_s | h_t) to its loss.
    h_t is the state from which decision t is drawn, and p a linear decoder for each t, with a softmax for each earlier
    decision s. The decoder is an auxiliary head: the policy has the same form without it. It starts at zero, and moves
    by the same optimizer as the controller.

    Source: the idea of Adam & Lorraine, "Understanding Neural Architecture Search Techniques", arXiv 1904.00438, 2019;
    the form of the loss is chosen here.
    """

    weight: float = 0.0
    """Weight λ of the loss of what hidden states forget of earlier choices; 0: no memory."""
    size: int = 1000
    """Genotypes that the buffer holds, the last ones sampled."""
    batch: int = 32
    """Genotypes that are replayed in a step of the controller."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if not 0.0 <= self.weight < math.inf:
            raise InputError(f"weight: got {self.weight!r}, expected a finite number ≥ 0")
        for name in ("size", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")

    def start(self, space: AnySpace, hidden: int, rule: StepRule, key: Tensor) -> MemoryState:
        """An empty buffer, and a decoder of `hidden` units that says nothing; the key is of all replays."""
        size = decoder_size(space, hidden) if self.weight > 0.0 else 0
        decoder = torch.zeros(size, dtype=torch.float64, device="cpu")
        none = torch.empty(0, len(space.cell_types), space.num_edges, dtype=torch.int64, device="cpu")
        return MemoryState(key, 0, none, decoder, initial_slots(rule, decoder))

    def remember(self, state: MemoryState, choices: Tensor) -> MemoryState:
        """The buffer with choices (n, T, E) as its last ones; what is older than `size` is forgotten."""
        if self.weight == 0.0:
            return state
        return state._replace(choices=torch.cat((state.choices, choices))[-self.size :])

    def gradient(self, state: MemoryState, controller: Controller) -> tuple[Tensor, Tensor]:
        """Gradients of λ · the loss of replayed genotypes, in the controller's weights (P,) and in the decoder (D,).

        Args:
            state: with at least one genotype in its buffer, from which some are drawn uniformly, with replacement.
            controller: its states are read.
        """
        if self.weight == 0.0:
            return torch.zeros_like(controller.weights), torch.zeros_like(state.decoder)
        u = philox.uniform(advance(state.key, state.steps), self.batch).double()
        replayed = state.choices[(u * len(state.choices)).long()]
        weights, decoder = (x.detach().requires_grad_(True) for x in (controller.weights, state.decoder))
        loss = self.weight * reconstruction(controller.with_weights(weights).trace(replayed), decoder, controller.space)
        in_weights, in_decoder = torch.autograd.grad(loss, (weights, decoder))
        return in_weights, in_decoder

    def moved(self, state: MemoryState, gradient: Tensor, rule: StepRule, lr: float) -> MemoryState:
        """The state after a step of the decoder."""
        if self.weight == 0.0:
            return state
        decoder, slots = step(rule, lr, state.decoder, gradient, state.slots)
        return state._replace(steps=state.steps + 1, decoder=decoder, slots=slots)


def reconstruction(trace: Trace, decoder: Tensor, space: AnySpace) -> Tensor:
    """Mean over n genotypes of −Σ_t Σ_{s<t} log p(a_s | h_t), in nats; a scalar, differentiable in all that has grad.

    Args:
        trace: of the controller; only its options (n, S) and hidden states (n, S, H) are looked at.
        decoder: (D,), `decoder_size(space, H)`. For t = 1, 2, ...: weights (t, O, H), then biases (t, O); row s says
            how likely each of O options is to have been chosen in decision s.
        space: of the genotypes.
    """
    options, hidden = trace.options, trace.hidden
    n, steps, units = hidden.shape
    width = _options(space)
    total = hidden.new_zeros(())
    used = 0
    for t in range(1, steps):
        weights = decoder[used : used + t * width * units].view(t * width, units)
        used += weights.numel()
        logits = hidden[:, t] @ weights.T + decoder[used : used + t * width]
        used += t * width
        total = total + F.cross_entropy(logits.view(n * t, width), options[:, :t].reshape(-1), reduction="sum")
    return total / n


def decoder_size(space: AnySpace, hidden: int) -> int:
    """D, the number of a decoder's weights and biases, for `hidden` units."""
    steps = len(decisions(space))
    return (steps * (steps - 1) // 2) * _options(space) * (hidden + 1)


def _options(space: AnySpace) -> int:
    """O: the most options that a decision has. A decoder may give some of them to decisions that lack them; it learns
    that they do not come."""
    nodes = 0 if space.arity is None else max(node for _, node in space.edges)
    return max(space.num_primitives, nodes)
