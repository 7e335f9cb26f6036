"""Genotypes in a continuous space: an encoder, a predictor of what they are worth, and a decoder back (NAO)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.arguments import integer, positive, whole_numbers
from base_fast.errors import Diverged, InputError
from base_fast.objectives.ranks import mean_ranks
from base_fast.random import fold_in, generator
from base_fast.space import AnySpace, decisions, from_decisions, to_decisions, ways


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of encoder, predictor and decoder, and how they are fitted.

    Source: Luo, Tian, Qin, Chen, Liu, "Neural Architecture Optimization", NeurIPS 2018, and the authors' second code
    (λ, sizes, Adam, clipping), where a thousand epochs follow on hundreds of genotypes.
    """

    embedding: int = 32
    """Length of a decision's embedding."""
    hidden: int = 64
    """Units of the encoder's and the decoder's LSTM."""
    layers: int = 1
    """Hidden layers of the predictor; 0 is a linear one."""
    trade_off: float = 0.8
    """λ: weight of the predictor's squared error; 1 − λ is that of the reconstruction."""
    steps: int = 150
    """Steps of Adam."""
    batch: int = 100
    """Genotypes of a step; all if there are fewer."""
    lr: float = 1e-2
    """Learning rate at the start of a cosine."""
    weight_decay: float = 1e-4
    """Share of the weights that a step of learning rate 1 takes away."""
    gradient_clip: float = 5.0
    """Largest norm of the gradient."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("embedding", "hidden", "steps", "batch"):
            integer(name, getattr(self, name), 1)
        integer("layers", self.layers, 0)
        for name in ("lr", "gradient_clip"):
            positive(name, getattr(self, name))
        if not 0.0 < self.trade_off < 1.0:
            raise InputError(f"trade_off: got {self.trade_off!r}, expected a number between 0 and 1")
        if not 0.0 <= self.weight_decay < float("inf"):
            raise InputError(f"weight_decay: got {self.weight_decay!r}, expected a finite number ≥ 0")


class Latent(NamedTuple):
    """states (n, S, H): the encoder's outputs, each of length 1. vector (n, H): their mean, brought to length 1."""

    states: Tensor
    vector: Tensor


class Autoencoder(nn.Module):
    """Encoder, predictor and decoder of the genotypes of a space, as the decisions of `space.decisions`.

    Args:
        space: whose genotypes.
        config: sizes.
        key: of the initial weights.
    """

    def __init__(self, space: AnySpace, config: AutoencoderConfig, key: Tensor) -> None:
        super().__init__()
        self.space, self.config = space, config
        self.length, self.options = _sizes(space)
        hidden = config.hidden
        # A decision has embeddings of its own: the same primitive says another thing on another edge.
        self.embedding = nn.Embedding(self.length * self.options, config.embedding)
        self.encoder = nn.LSTM(config.embedding, hidden, batch_first=True)
        sizes = [hidden] * (config.layers + 1)
        layers = [nn.Sequential(nn.Linear(i, o), nn.ReLU()) for i, o in pairwise(sizes)]
        self.predictor = nn.Sequential(*layers, nn.Linear(hidden, 1))
        self.first = nn.Parameter(torch.empty(config.embedding))
        self.decoder = nn.LSTM(config.embedding, hidden, batch_first=True)
        self.attention = nn.Linear(2 * hidden, hidden)
        self.output = nn.Linear(hidden, self.length * self.options)
        draws = generator(key)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                # As PyTorch initializes these layers, from the key.
                spread = 1.0 if name in ("embedding.weight", "first") else hidden**-0.5
                parameter.copy_(spread * (2.0 * torch.rand(parameter.shape, generator=draws, device="cpu") - 1.0))

    def encode(self, options: Tensor) -> Latent:
        """Decisions (n, S) → their latent states."""
        return self.latent(self.encoder(self._embedded(options))[0])

    def latent(self, states: Tensor) -> Latent:
        """States (n, S, H) of any length, each brought to length 1, and their vector."""
        states = F.normalize(states, dim=2)
        return Latent(states, F.normalize(states.mean(dim=1), dim=1))

    def predict(self, latent: Latent) -> Tensor:
        """(n,) from 0 to 1, the larger the better."""
        return torch.sigmoid(self.predictor(latent.vector)[:, 0])

    def reconstruction(self, latent: Latent, options: Tensor) -> Tensor:
        """Negative log-likelihood (n, S) in nats of decisions (n, S), each given those before it."""
        n = len(options)
        before = torch.cat((self.first.expand(n, 1, -1), self._embedded(options)[:, :-1]), dim=1)
        hidden, _ = self.decoder(before, self._initial(latent))
        possible = torch.stack([_possible(self.space, options, s) for s in range(self.length)], dim=1)
        logits = self._logits(hidden, latent, torch.arange(self.length, device="cpu"))
        logits = logits.masked_fill(~possible, float("-inf"))
        return F.cross_entropy(logits.flatten(0, 1), options.flatten(), reduction="none").view(n, -1)

    def decode(self, latent: Latent) -> Tensor:
        """(n, S): the most probable decision after another; always those of a genotype."""
        n = len(latent.vector)
        options = torch.zeros(n, self.length, dtype=torch.int64, device="cpu")
        before, state = self.first.expand(n, 1, -1), self._initial(latent)
        for s in range(self.length):
            hidden, state = self.decoder(before, state)
            logits = self._logits(hidden, latent, torch.tensor([s], device="cpu"))[:, 0]
            possible = _possible(self.space, options, s)
            options[:, s] = logits.masked_fill(~possible, float("-inf")).argmax(dim=1)
            before = self._embedded(options)[:, s : s + 1]
        return options

    def gradient(self, latent: Latent) -> Tensor:
        """(n, S, H): of the prediction, in the encoder's states."""
        states = latent.states.detach().requires_grad_(True)
        value = self.predict(self.latent(states))
        (gradient,) = torch.autograd.grad(value.sum(), states)
        return gradient

    def _embedded(self, options: Tensor) -> Tensor:
        return self.embedding(options + self.options * torch.arange(self.length, device="cpu"))

    def _initial(self, latent: Latent) -> tuple[Tensor, Tensor]:
        vector = latent.vector.unsqueeze(0).contiguous()
        return vector, vector

    def _logits(self, hidden: Tensor, latent: Latent, decision: Tensor) -> Tensor:
        """States (n, s, H) of the decoder at decisions (s,) → (n, s, options)."""
        weights = torch.softmax(hidden @ latent.states.transpose(1, 2), dim=2)
        mixed = torch.tanh(self.attention(torch.cat((weights @ latent.states, hidden), dim=2)))
        own = self.output.weight.view(self.length, self.options, -1)[decision]
        return torch.einsum("nsh,soh->nso", mixed, own) + self.output.bias.view(self.length, -1)[decision]


def options_of(space: AnySpace, choices: Tensor) -> Tensor:
    """(n, T, E) → (n, S) decisions."""
    return torch.from_numpy(to_decisions(choices.numpy(), space))


def choices_of(space: AnySpace, options: Tensor) -> Tensor:
    """(n, S) → (n, T, E) choices."""
    return torch.from_numpy(from_decisions(options.numpy(), space))


def fit_autoencoder(
    space: AnySpace, choices: Tensor, values: Tensor, config: AutoencoderConfig, key: Tensor
) -> Autoencoder:
    """Fit one to genotypes (n, T, E) and their values (n,), the larger the better; a pure function of its arguments.

    The predictor's target is the rank among the genotypes, from 0 to 1, ties sharing theirs. The source scales values
    by the least and the largest, which has no meaning for equal ones, and which a single bad genotype rules.

    Raises:
        Diverged: the loss is NaN or infinite.
    """
    model = Autoencoder(space, config, fold_in(key, 0))
    options = options_of(space, choices)
    targets = ((mean_ranks(values) - 0.5) / len(values)).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    draws = generator(fold_in(key, 1))
    for _ in range(config.steps):
        rows = torch.randperm(len(options), generator=draws, device="cpu")[: config.batch]
        latent = model.encode(options[rows])
        error = (model.predict(latent) - targets[rows]).square().mean()
        lost = model.reconstruction(latent, options[rows]).mean()
        loss = config.trade_off * error + (1.0 - config.trade_off) * lost
        if not torch.isfinite(loss):
            raise Diverged(f"loss is {loss.item()}; a smaller learning rate than {config.lr:g} may help")
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
        schedule.step()
    return model.eval()


def reconstruction_distance(model: Autoencoder, choices: Tensor) -> float:
    """Mean share of decisions that are others after encoding and decoding genotypes (n, T, E): the Hamming distance."""
    options = options_of(model.space, choices)
    with torch.no_grad():
        return (model.decode(model.encode(options)) != options).double().mean().item()


def predicted(model: Autoencoder, choices: Tensor) -> Tensor:
    """(n, T, E) → (n,) float64 predictions from 0 to 1."""
    with torch.no_grad():
        return model.predict(model.encode(options_of(model.space, choices))).double()


@lru_cache(maxsize=16)
def _sizes(space: AnySpace) -> tuple[int, int]:
    """S, the number of decisions, and the most options that one has."""
    made = decisions(space)
    return len(made), max(ways(decision, space).shape[-1] for decision in made)


@lru_cache(maxsize=256)
def _table(space: AnySpace, number: int) -> Tensor:
    """Which options decision `number` has: (options,), or for an input (1 + nodes, options) by the one before it."""
    _, options = _sizes(space)
    found = torch.from_numpy(ways(decisions(space)[number], space)) > 0
    return F.pad(found, (0, options - found.shape[-1]))


def _possible(space: AnySpace, options: Tensor, number: int) -> Tensor:
    """(n, options): what decision `number` may be after those before it in options (n, S)."""
    decision, table = decisions(space)[number], _table(space, number)
    if table.dim() == 1:
        return table.expand(len(options), -1)
    before = options[:, number - 1] if decision.place else torch.full((len(options),), -1, device="cpu")
    return table[before + 1]
