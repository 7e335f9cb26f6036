"""An LSTM controller: one decision after another, each given all that came before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import integer, positive
from base_fast.distributions.distribution import SAMPLES, Distribution
from base_fast.errors import InputError
from base_fast.random import key as make_key
from base_fast.reference import philox
from base_fast.space import AnySpace, Decision, decisions, from_decisions, kept, to_decisions, ways

HIDDEN, TEMPERATURE, BOUND = 64, 5.0, 2.5
# Weights are drawn from U(−SPREAD, SPREAD).
SPREAD = 0.1


class Trace(NamedTuple):
    """What a controller did, decision by decision (S of them, `space.decisions`), float64.

    Attributes:
        options: (n, S) int64, what it chose.
        log_probs: (n, S), log p(option | all options before it).
        entropies: (n, S), nats of the distribution that the option was drawn from.
        hidden: (n, S, H), the state from which it was drawn.
    """

    options: Tensor
    log_probs: Tensor
    entropies: Tensor
    hidden: Tensor


class Controller(Distribution):
    """An LSTM that makes the decisions of a genotype (`space.decisions`) in order, as a function of its weights.

    A primitive is drawn with the logits c·tanh((W h + b)/t), and its embedding is the next input. An input is drawn by
    attention over the nodes before it, c·tanh(v·tanh(K a_j + Q h)/t), where a_j is the state after node j was decided;
    that state is the next input. a_j takes a step of its own; the first input, which also follows it, is learned.

    Chosen here: a node's inputs are different and drawn in increasing order, so that every genotype is reached in one
    way and has one probability (in the source they may be equal, in any order); logits have the logarithm of the number
    of ways to go on (`space.ways`) added, so that all genotypes are equally probable where the weights say nothing; one
    bound c for inputs and primitives; the LSTM has biases.

    Source: Pham, Guan, Zoph, Le, Dean, "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018: 64
    hidden units, t = 5, c = 2.5.

    Args:
        space: whose genotypes.
        weights: (P,) floating point, finite; computed with in float64 on the CPU. `Controller.size` says how many.
        hidden: H, units of the LSTM.
        temperature: t > 0.
        bound: c > 0, the largest logit.

    Raises:
        InputError: wrong number of weights, or a value that is not as said.
    """

    kind: ClassVar[str] = "controller"

    def __init__(
        self,
        space: AnySpace,
        weights: Tensor,
        hidden: int = HIDDEN,
        temperature: float = TEMPERATURE,
        bound: float = BOUND,
    ) -> None:
        self.space, self.weights = space, weights
        self.units = integer("hidden", hidden, 1)
        self.temperature, self.bound = positive("temperature", temperature), positive("bound", bound)
        size = self.size(space, self.units)
        if tuple(weights.shape) != (size,) or not weights.is_floating_point():
            raise InputError(
                f"weights: got {weights.dtype} {tuple(weights.shape)}, expected floats ({size},): a controller of "
                f"{space.name} with {self.units} hidden units"
            )
        if not bool(torch.isfinite(weights).all()):
            raise InputError("weights: got NaN or infinity, expected finite numbers")

    @classmethod
    def fresh(
        cls,
        space: AnySpace,
        key: Tensor,
        hidden: int = HIDDEN,
        temperature: float = TEMPERATURE,
        bound: float = BOUND,
    ) -> Controller:
        """Weights drawn from U(−0.1, 0.1), as in the source; a pure function of the key."""
        u = philox.uniform(key.cpu(), cls.size(space, integer("hidden", hidden, 1))).double()
        return cls(space, SPREAD * (2.0 * u - 1.0), hidden, temperature, bound)

    @staticmethod
    def size(space: AnySpace, hidden: int = HIDDEN) -> int:
        """P, the number of weights."""
        return sum(math.prod(shape) for shape in _shapes(space, hidden).values())

    def with_weights(self, weights: Tensor) -> Controller:
        """The same controller with other weights."""
        return Controller(self.space, weights, **self.settings())

    def tensors(self) -> dict[str, Tensor]:
        return {"weights": self.weights.detach()}

    def settings(self) -> dict[str, Any]:
        return {"hidden": self.units, "temperature": self.temperature, "bound": self.bound}

    def sample(self, key: Tensor, n: int) -> Tensor:
        none = torch.empty(n, 0, dtype=torch.int64, device="cpu")
        return torch.from_numpy(from_decisions(self.complete(none, key).numpy(), self.space))

    def complete(self, options: Tensor, key: Tensor) -> Tensor:
        """(n, s) first options → (n, S): the rest drawn, given them; a pure function of the key."""
        return self._completed(options, key).options

    def log_prob(self, choices: Tensor) -> Tensor:
        self.check(choices)
        possible = torch.from_numpy(kept(choices.numpy(), self.space))
        total = torch.full((len(choices),), -math.inf, dtype=torch.float64, device="cpu")
        return total.masked_scatter(possible, self.trace(choices[possible]).log_probs.sum(dim=1))

    def hidden(self, choices: Tensor) -> Tensor:
        """(n, T, E) → (n, S, H) float64: the state from which each decision was drawn; differentiable."""
        return self.trace(choices).hidden

    def trace(self, choices: Tensor) -> Trace:
        """What the controller did where it drew choices (n, T, E); differentiable in weights that require gradients.

        Raises:
            InputError: choices that are no genotypes of the space.
        """
        self.check(choices)
        options = torch.from_numpy(to_decisions(choices.numpy(), self.space))
        return self._run(len(options), lambda s, _: options[:, s])

    def entropy(self) -> Tensor:
        """An estimate in nats: the entropies of the decisions, added up along the draws. Not for gradients."""
        none = torch.empty(SAMPLES, 0, dtype=torch.int64, device="cpu")
        return self._completed(none, make_key(0)).entropies.sum(dim=1).mean()

    def _completed(self, options: Tensor, key: Tensor) -> Trace:
        n, given = options.shape
        count = len(decisions(self.space))
        u = philox.uniform(key.cpu(), n * count).double().view(n, count, 1)

        def choose(s: int, log_p: Tensor) -> Tensor:
            if s < given:
                return options[:, s]
            cumulative = log_p.exp().cumsum(dim=1)
            # Scaled to the last sum, which rounding keeps from being 1; u < 1 then never reaches beyond the options.
            return torch.searchsorted(cumulative, u[:, s] * cumulative[:, -1:], right=True)[:, 0]

        with torch.no_grad():
            return self._run(n, choose)

    def _run(self, n: int, choose: Callable[[int, Tensor], Tensor]) -> Trace:
        """n runs side by side; `choose(s, log_p (n, options)) -> (n,)` makes decision number s."""
        lstm = _Lstm(self.space, self.units, self.weights.cpu().double(), n)
        options: list[Tensor] = []
        log_probs, entropies, hidden = [], [], []
        for s, decision in enumerate(decisions(self.space)):
            before = options[-1] if decision.place else None
            h, logits = lstm.logits(decision)
            logits = self.bound * torch.tanh(logits / self.temperature) + _log_ways(self.space, decision, before)
            log_p = torch.log_softmax(logits, dim=1)
            option = choose(s, log_p.detach())
            lstm.take(decision, option)
            options.append(option)
            log_probs.append(log_p.gather(1, option.unsqueeze(1))[:, 0])
            # What cannot be chosen weighs nothing; 0 · −∞ would not be a number, nor its gradient.
            entropies.append(-(log_p.exp() * log_p.masked_fill(log_p.isneginf(), 0.0)).sum(dim=1))
            hidden.append(h)
        return Trace(*(torch.stack(rows, dim=1) for rows in (options, log_probs, entropies, hidden)))


class _Lstm:
    """The recurrence: its state, the next input, and the states after the nodes of the cell at hand."""

    def __init__(self, space: AnySpace, hidden: int, weights: Tensor, n: int) -> None:
        shapes = _shapes(space, hidden)
        parts = weights.split([math.prod(shape) for shape in shapes.values()])
        self.w = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        self.first = self.w["first"].expand(n, -1)
        self.x = self.first
        self.h = self.c = weights.new_zeros(n, hidden)
        self.nodes: list[Tensor] = []

    def logits(self, decision: Decision) -> tuple[Tensor, Tensor]:
        """The state (n, H) from which the decision is made, and what it says of each option (n, options)."""
        if decision.node is not None and decision.kind == "input" and decision.place == 0:
            self._up_to(decision.node)
        self._step()
        if decision.kind == "primitive":
            return self.h, self.h @ self.w["primitive"].T + self.w["primitive_bias"]
        keys = torch.stack(self.nodes, dim=1) @ self.w["key"].T
        query = (self.h @ self.w["query"].T).unsqueeze(1)
        return self.h, torch.tanh(keys + query) @ self.w["score"]

    def take(self, decision: Decision, option: Tensor) -> None:
        """Go on with an option (n,)."""
        if decision.kind == "primitive":
            self.x = self.w["embedding"][option]
        else:
            self.x = torch.stack(self.nodes, dim=1)[torch.arange(len(option), device="cpu"), option]

    def _up_to(self, node: int) -> None:
        """The states after the nodes before `node`; where it is not the next one, a new cell begins with its inputs."""
        if len(self.nodes) >= node:
            self.nodes = []
        while len(self.nodes) < node:
            self._step()
            self.nodes.append(self.h)
            self.x = self.first

    def _step(self) -> None:
        gates = torch.cat((self.x, self.h), dim=1) @ self.w["lstm"].T + self.w["lstm_bias"]
        i, f, o, g = gates.chunk(4, dim=1)
        self.c = torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f) * self.c
        self.h = torch.sigmoid(o) * torch.tanh(self.c)


def _shapes(space: AnySpace, hidden: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights, in the order in which they lie in the vector."""
    primitives = space.num_primitives
    shapes: dict[str, tuple[int, ...]] = {
        "first": (hidden,),
        "lstm": (4 * hidden, 2 * hidden),
        "lstm_bias": (4 * hidden,),
        "embedding": (primitives, hidden),
        "primitive": (primitives, hidden),
        "primitive_bias": (primitives,),
    }
    if space.arity is not None:
        shapes |= {"key": (hidden, hidden), "query": (hidden, hidden), "score": (hidden,)}
    return shapes


@lru_cache(maxsize=256)
def _table(space: AnySpace, decision: Decision) -> Tensor:
    return torch.from_numpy(ways(decision, space)).double().log()


def _log_ways(space: AnySpace, decision: Decision, before: Tensor | None) -> Tensor:
    """Logarithms of the ways to go on, (options,) or (n, options); `before` is a node's last input so far."""
    table = _table(space, decision)
    if decision.kind == "primitive":
        return table
    return table[0] if before is None else table[before + 1]
