"""Recurrent cells: that of a genotype, the mixture that a search trains, and the two that everything is compared with.

A cell maps x (T, B, I) and a state (S, B, H) to its hidden states (T, B, H) and the state after the last.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.reference import philox
from base_fast.space import Genotype, Space, check_recurrent
from base_fast.space.genotype import ACTIVATIONS

Baseline = Literal["tanh_rnn", "lstm"]
BASELINES: tuple[Baseline, ...] = ("tanh_rnn", "lstm")

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}


class Masks(NamedTuple):
    """Variational dropout, the same at all times of a sequence: of a cell's inputs (B, I), and of its hidden states
    (B, H).

    Source: Gal & Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks", 2016.
    """

    inputs: Tensor
    hidden: Tensor


class Cell(nn.Module, ABC):
    """states: S, how many tensors a state has; the first is the hidden state. scale: of the first weights, which are
    uniform in ±scale; biases start at 0."""

    states: int = 1

    def __init__(self, inputs: int, hidden: int, scale: float) -> None:
        super().__init__()
        if min(inputs, hidden) < 1:
            raise InputError(f"inputs, hidden: got {inputs}, {hidden}, expected at least 1")
        self.inputs, self.hidden, self.scale = inputs, hidden, scale

    def initialize(self, key: Tensor) -> None:
        """Draw all weights from the key."""
        for parameter in self.parameters():
            with torch.no_grad():
                drawn = 2.0 * philox.uniform(key, parameter.numel()).view(parameter.shape) - 1.0
                parameter.copy_(self.scale * drawn if parameter.dim() > 1 else torch.zeros_like(drawn))
            key = key + key.new_tensor([0, parameter.numel()])

    def initial(self, batch: int) -> Tensor:
        """The state (S, B, H) before a text: zero."""
        return next(self.parameters()).new_zeros(self.states, batch, self.hidden)

    def forward(
        self, x: Tensor, state: Tensor, masks: Masks | None = None, *architecture: Tensor
    ) -> tuple[Tensor, Tensor]:
        weights = self.mix
        of_x = (x if masks is None else x * masks.inputs) @ weights[: self.inputs]
        of_h, mask, outputs = weights[self.inputs :], None if masks is None else masks.hidden, []
        architecture = self.prepared(*architecture)
        for mixed in of_x.unbind():
            h = state[0]
            mixed = mixed + (h if mask is None else h * mask) @ of_h
            state = self.step(mixed, state, mask, *architecture)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def prepared(self, *architecture: Tensor) -> tuple[Tensor, ...]:
        """What every step takes of an architecture, once for all steps."""
        return architecture

    mix: Tensor
    """(I + H, ·): what input and hidden state are first multiplied with."""

    @abstractmethod
    def step(self, mixed: Tensor, state: Tensor, mask: Tensor | None, *architecture: Tensor) -> Tensor:
        """The state (S, B, H) after one word, whose input and whose hidden state were mixed already."""


class _Highway(Cell):
    """Node 0 is h + c ⊙ (tanh(a) − h), where [c', a] = [x, h]·W₀ and c = σ(c'); see `RecurrentCell`."""

    def __init__(self, nodes: int, inputs: int, hidden: int, norm_limit: float) -> None:
        super().__init__(inputs, hidden, scale=0.04)
        self.norm_limit = norm_limit
        self.mix = nn.Parameter(torch.empty(inputs + hidden, 2 * hidden))
        self.nodes = nn.Parameter(torch.empty(nodes, hidden, 2 * hidden))

    def _start(self, mixed: Tensor, state: Tensor) -> Tensor:
        c, a = mixed.chunk(2, dim=-1)
        return torch.lerp(state[0], torch.tanh(a), torch.sigmoid(c))

    def _limited(self, h: Tensor) -> Tensor:
        if self.norm_limit > 0.0:
            norm = torch.linalg.vector_norm(h, dim=-1, keepdim=True)
            h = h * (self.norm_limit / norm.clamp(min=self.norm_limit))
        return h.unsqueeze(0)


class RecurrentCell(_Highway):
    """The cell of a genotype.

    Node i takes an activation f of one node j before it, through a gate, s_i = s_j + c ⊙ (f(a) − s_j) with
    [c', a] = s_j·W_i and c = σ(c'). The mean of the nodes that the genotype concatenates is the next hidden state.

    Args:
        genotype: a recurrent cell.
        inputs: I, numbers of a word.
        hidden: H.
        norm_limit: hidden states are scaled down to this length (ENAS: 25); 0 leaves them.

    Source: Liu et al., DARTS, ICLR 2019, and `rnn/model.py`; Zilly et al., "Recurrent Highway Networks", ICML 2017.
    """

    def __init__(self, genotype: Genotype, inputs: int, hidden: int, norm_limit: float = 0.0) -> None:
        check_recurrent(genotype)
        super().__init__(len(genotype.normal), inputs, hidden, norm_limit)
        self.genotype = genotype

    def step(self, mixed: Tensor, state: Tensor, mask: Tensor | None, *architecture: Tensor) -> Tensor:
        nodes = [self._start(mixed, state)]
        for weights, (name, predecessor) in zip(self.nodes.unbind(), self.genotype.normal, strict=True):
            s = nodes[predecessor]
            c, a = ((s if mask is None else s * mask) @ weights).chunk(2, dim=-1)
            nodes.append(torch.lerp(s, FUNCTIONS[name](a), torch.sigmoid(c)))
        return self._limited(torch.stack([nodes[node] for node in self.genotype.normal_concat]).mean(dim=0))


class MixedRecurrentCell(_Highway):
    """The cell that a search trains: every node is the sum of all activations of all nodes before it, weighted by the
    architecture z (1, E, L), which comes with each call. A node's weights are the same for all of its predecessors.

    Nodes are normalized over the batch, without parameters: with weights that many cells share, they would not stay in
    bounds. The cell of a genotype is not.

    Source: Liu et al., DARTS, ICLR 2019, and `rnn/model_search.py`.
    """

    def __init__(self, space: Space, inputs: int, hidden: int, norm_limit: float = 0.0) -> None:
        super().__init__(space.nodes, inputs, hidden, norm_limit)
        self.space = space
        self._columns = [space.primitives.index(name) for name in ACTIVATIONS if name in space.primitives]
        self._functions = [FUNCTIONS[name] for name in ACTIVATIONS if name in space.primitives]

    def prepared(self, *architecture: Tensor) -> tuple[Tensor, ...]:
        (z,) = architecture
        edges = [self.space.incoming(node) for node in self.space.node_numbers]
        return tuple(z[0, own.start : own.stop, self._columns].t() for own in edges)

    def step(self, mixed: Tensor, state: Tensor, mask: Tensor | None, *architecture: Tensor) -> Tensor:
        nodes = [_normalized(self._start(mixed, state))]
        for weights, p in zip(self.nodes.unbind(), architecture, strict=True):  # p: (activations, predecessors)
            s = torch.stack(nodes)
            c, a = ((s if mask is None else s * mask) @ weights).chunk(2, dim=-1)
            c = torch.sigmoid(c)
            applied = torch.stack([function(a) for function in self._functions]) * c
            # Weighted sums as products of matrices: over activations and predecessors, and over predecessors.
            new = p.reshape(1, -1) @ applied.view(p.numel(), -1) + p.sum(dim=0, keepdim=True) @ ((1.0 - c) * s).flatten(
                1
            )
            nodes.append(_normalized(new.view(s.shape[1:])))
        return self._limited(torch.stack([nodes[node] for node in self.space.concat]).mean(dim=0))


class TanhRnn(Cell):
    """h' = tanh([x, h]·W + b). Source: Elman, "Finding Structure in Time", 1990."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, scale=1.0 / math.sqrt(hidden))
        self.mix = nn.Parameter(torch.empty(inputs + hidden, hidden))
        self.bias = nn.Parameter(torch.empty(hidden))

    def step(self, mixed: Tensor, state: Tensor, mask: Tensor | None, *architecture: Tensor) -> Tensor:
        return torch.tanh(mixed + self.bias).unsqueeze(0)


class Lstm(Cell):
    """Long short-term memory, with forget gates. Source: Hochreiter & Schmidhuber 1997; Gers et al. 2000."""

    states = 2

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, scale=1.0 / math.sqrt(hidden))
        self.mix = nn.Parameter(torch.empty(inputs + hidden, 4 * hidden))
        self.bias = nn.Parameter(torch.empty(4 * hidden))

    def step(self, mixed: Tensor, state: Tensor, mask: Tensor | None, *architecture: Tensor) -> Tensor:
        write, keep, new, show = (mixed + self.bias).chunk(4, dim=-1)
        memory = torch.sigmoid(keep) * state[1] + torch.sigmoid(write) * torch.tanh(new)
        return torch.stack((torch.sigmoid(show) * torch.tanh(memory), memory))


def build_cell(cell: Genotype | Baseline, inputs: int, hidden: int, norm_limit: float = 0.0) -> Cell:
    """The cell of a genotype, or a baseline by its name."""
    if isinstance(cell, Genotype):
        return RecurrentCell(cell, inputs, hidden, norm_limit)
    return Lstm(inputs, hidden) if cell == "lstm" else TanhRnn(inputs, hidden)


def _normalized(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True) if len(x) > 1 else x
