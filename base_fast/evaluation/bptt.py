"""Backpropagation through time, cut into segments: a text in columns, read on from where the last segment ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.errors import Diverged, InputError
from base_fast.evaluation.language_model import Dropout, LanguageModel, Said
from base_fast.random import advance, generator
from base_fast.reference import philox

# Segments are half as long in one of twenty steps, never shorter than the one, nor longer than usual by the other.
SHORT, SHORTEST, LONGER = 0.05, 5, 20


@dataclass(frozen=True)
class BpttConfig:
    """Plain stochastic gradient descent on segments of a text; the defaults are DARTS's for its evaluation.

    Source: Liu et al., DARTS, ICLR 2019, `rnn/train.py`; random lengths, slowness and NT-ASGD: Merity et al.,
    "Regularizing and Optimizing LSTM Language Models", ICLR 2018.
    """

    batch_size: int = 64
    """Columns into which the text is cut; all are read at once."""
    bptt: int = 35
    """Words of a column in a segment, on average."""
    bptt_spread: float = 5.0
    """Standard deviation of that; one segment in twenty is half as long. 0: all have the same length."""
    lr: float = 20.0
    """Learning rate of a segment of `bptt` words; it is proportional to their number."""
    clip: float = 0.25
    """Largest L2 norm of the gradient over all weights; 0 does not clip."""
    weight_decay: float = 8e-7
    """L2 penalty on all weights."""
    activation: float = 0.0
    """Penalty on the mean square of the hidden states."""
    slowness: float = 1e-3
    """Penalty on the mean square of their changes from word to word."""
    dropout: Dropout = Dropout()
    """What is left out while learning."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("batch_size", "bptt"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")
        if not 0.0 < self.lr < math.inf:
            raise InputError(f"lr: got {self.lr!r}, expected a finite number > 0")
        for name in ("bptt_spread", "clip", "weight_decay", "activation", "slowness"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a finite number ≥ 0")

    def penalized(self, said: Said, nll: Tensor) -> Tensor:
        """The loss with the penalties on hidden states."""
        if self.activation > 0.0:
            nll = nll + self.activation * said.dropped.square().mean()
        if self.slowness > 0.0 and len(said.hidden) > 1:
            nll = nll + self.slowness * (said.hidden[1:] - said.hidden[:-1]).square().mean()
        return nll

    def length(self, key: Tensor) -> int:
        """Words of a segment whose lengths are random."""
        if self.bptt_spread == 0.0:
            return self.bptt
        usual = self.bptt * (0.5 if philox.uniform(key, 1).item() < SHORT else 1.0)
        drawn = int(usual + self.bptt_spread * philox.normal(key + key.new_tensor([0, 1]), 1).item())
        return min(max(SHORTEST, drawn), self.bptt + LONGER)

    def move(self, weights: Sequence[Tensor], gradients: Sequence[Tensor], words: int) -> float:
        """Move weights in place along the gradients of a segment of so many words; gives the gradient's norm.

        Raises:
            Diverged: it is NaN or infinite.
        """
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])).item()
        if not math.isfinite(norm):
            raise Diverged(f"gradient norm is {norm}; a smaller lr or stronger clipping (clip) may help")
        scale = self.clip / norm if 0.0 < self.clip < norm else 1.0
        lr = self.lr * words / self.bptt
        with torch.no_grad():
            for x, gradient in zip(weights, gradients, strict=True):
                x.sub_(lr * (scale * gradient + self.weight_decay * x))
        return norm


class Place(NamedTuple):
    """Where a reading stands: passes over the text that are done, the row of the next word, the state (S, B, H) after
    the word before."""

    passes: int
    row: int
    state: Tensor


class Segment(NamedTuple):
    """words (T, B), and the words after them, `following` (T, B)."""

    words: Tensor
    following: Tensor


class Reader:
    """A text in `batch_size` columns that go on from segment to segment; what does not fill a row is left out.

    Args:
        text: (N,) int64.
        config: how it is cut.
        key: of the lengths of segments.

    Raises:
        InputError: a text without two rows.
    """

    def __init__(self, text: Tensor, config: BpttConfig, key: Tensor) -> None:
        self.columns = in_columns(text, config.batch_size)
        self.config, self.key = config, key

    @property
    def steps_per_pass(self) -> int:
        """Segments of the usual length in the text."""
        return math.ceil((len(self.columns) - 1) / self.config.bptt)

    def start(self, model: LanguageModel) -> Place:
        """Before the first word."""
        return Place(0, 0, model.initial(self.config.batch_size))

    def segment(self, place: Place, step: int) -> Segment:
        """The segment at a place; its length depends on the number of the step."""
        end = min(place.row + self.config.length(advance(self.key, step)), len(self.columns) - 1)
        return Segment(self.columns[place.row : end], self.columns[place.row + 1 : end + 1])

    def after(self, place: Place, segment: Segment, state: Tensor, model: LanguageModel) -> Place:
        """The place after a segment, with the state after it; at the end of the text, its beginning."""
        row = place.row + len(segment.words)
        if row >= len(self.columns) - 1:
            return Place(place.passes + 1, 0, model.initial(self.config.batch_size))
        return Place(place.passes, row, state.detach())


def in_columns(text: Tensor, columns: int) -> Tensor:
    """(N,) words as (rows, columns), each column one stretch of the text.

    Raises:
        InputError: fewer than two rows.
    """
    rows = len(text) // columns
    if rows < 2:
        raise InputError(f"batch_size: got {columns} columns for {len(text)} words, expected two words for each")
    return text[: rows * columns].view(columns, rows).t().contiguous()


def negative_log_likelihood(said: Said, following: Tensor) -> Tensor:
    """Mean over all words, in nats."""
    return F.cross_entropy(said.logits.flatten(0, 1), following.flatten())


@torch.no_grad()
def mean_loss(
    model: LanguageModel, text: Tensor, columns: int = 10, rows: int = 35, architecture: tuple[Tensor, ...] = ()
) -> float:
    """Mean negative log-likelihood of a text's words in nats, each predicted once, from all words before it in its
    column; its exponential is the perplexity.

    Args:
        text: (N,) int64. What does not fill a row of `columns` is left out: with one column, nothing is.
        rows: words of a column at once.
    """
    words = in_columns(text, min(columns, len(text) // 2)).to(model.bias.device)
    state, total = model.initial(words.shape[1]), 0.0
    for start in range(0, len(words) - 1, rows):
        end = min(start + rows, len(words) - 1)
        said = model(words[start:end], state, architecture=architecture)
        state = said.state
        total += negative_log_likelihood(said, words[start + 1 : end + 1]).double().item() * (end - start)
    return total / (len(words) - 1)


def noise(key: Tensor, step: int) -> torch.Generator:
    """Of a step's dropout."""
    return generator(advance(key, step))
