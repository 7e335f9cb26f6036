"""A language model: words in, one recurrent cell, the next word out; the embedding is the classifier, too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.device import resolve
from base_fast.errors import InputError
from base_fast.evaluation.counts import count_parameters
from base_fast.nn.recurrent import BASELINES, Baseline, Cell, Masks, build_cell
from base_fast.random import fold_in, key
from base_fast.reference import philox
from base_fast.runs import changeable, from_dict, load_tensors, save_tensors, to_dict
from base_fast.space import Genotype
from base_fast.tasks.text import Vocabulary

FILE = "language_model.safetensors"
EMBEDDING_SCALE = 0.1


@dataclass(frozen=True)
class Dropout:
    """Shares of numbers that are left out while learning, one draw for all times of a sequence."""

    output: float = 0.75
    """Of the hidden states on their way to the classifier."""
    hidden: float = 0.25
    """Of the hidden states and nodes inside the cell."""
    inputs: float = 0.75
    """Of the cell's inputs."""
    embedding: float = 0.2
    """Of the embedded words, before that."""
    words: float = 0.0
    """Of the words of the vocabulary, whole."""

    def __post_init__(self) -> None:
        for name in ("output", "hidden", "inputs", "embedding", "words"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a share from 0 to below 1")


@dataclass(frozen=True)
class LanguageModelConfig:
    """Size of a language model."""

    hidden: int = 850
    """Hidden units, and numbers of an embedded word."""
    norm_limit: float = 0.0
    """Hidden states are scaled down to this length, 25 in ENAS; 0 leaves them."""
    device: str = changeable("auto")
    """auto (the GPU if there is one), cpu, cuda or cuda:<number>."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if self.hidden < 1:
            raise InputError(f"hidden: got {self.hidden}, expected an integer ≥ 1")
        if not 0.0 <= self.norm_limit < float("inf"):
            raise InputError(f"norm_limit: got {self.norm_limit!r}, expected a finite number ≥ 0")

    def build(self, cell: Genotype | Baseline, vocabulary: int, seed: int) -> LanguageModel:
        """A model with weights drawn from `seed` alone, on `device`."""
        model = LanguageModel(build_cell(cell, self.hidden, self.hidden, self.norm_limit), vocabulary)
        model.initialize(key(seed))
        return model.to(resolve(self.device))


class Said(NamedTuple):
    """logits (T, B, V); hidden (T, B, H), the cell's, and dropped, with output dropout; the state (S, B, H) after."""

    logits: Tensor
    hidden: Tensor
    dropped: Tensor
    state: Tensor


class LanguageModel(nn.Module):
    """An embedding (V, H), a cell, and a classifier that has the embedding's weights and a bias of its own.

    Args:
        cell: with as many inputs as hidden units.
        vocabulary: V.

    Source: Liu et al., DARTS, ICLR 2019, `rnn/model.py`; tied weights: Press & Wolf 2017, Inan et al. 2017.
    """

    def __init__(self, cell: Cell, vocabulary: int) -> None:
        super().__init__()
        if cell.inputs != cell.hidden:
            raise InputError(f"cell: got {cell.inputs} inputs and {cell.hidden} hidden units, expected the same number")
        self.cell = cell
        self.embedding = nn.Parameter(torch.empty(vocabulary, cell.hidden))
        self.bias = nn.Parameter(torch.empty(vocabulary))

    def initialize(self, key: Tensor) -> None:
        """Draw all weights from the key: the embedding uniformly in ±0.1, the cell's as it says, biases 0."""
        self.cell.initialize(fold_in(key, 0))
        with torch.no_grad():
            drawn = philox.uniform(fold_in(key, 1), self.embedding.numel()).view(self.embedding.shape)
            self.embedding.copy_(EMBEDDING_SCALE * (2.0 * drawn - 1.0))
            self.bias.zero_()

    def initial(self, batch: int) -> Tensor:
        """The state (S, B, H) before a text."""
        return self.cell.initial(batch)

    def forward(
        self,
        words: Tensor,
        state: Tensor,
        dropout: Dropout | None = None,
        generator: torch.Generator | None = None,
        architecture: tuple[Tensor, ...] = (),
    ) -> Said:
        """What comes after each of the words.

        Args:
            words: (T, B) int64, in columns that each go on from the call before.
            state: (S, B, H) after that call.
            dropout: while learning; its masks are drawn from the generator, on the CPU.
            architecture: (z,) for a mixed cell.
        """
        batch, h, weights = words.shape[1], self.cell.hidden, self.embedding

        def mask(share: float, *shape: int) -> Tensor:
            kept = torch.empty(shape, device="cpu").bernoulli_(1.0 - share, generator=generator) / (1.0 - share)
            return kept.to(weights)

        if dropout is None:
            hidden, state = self.cell(F.embedding(words, weights), state, None, *architecture)
            dropped = hidden
        else:
            known = weights * mask(dropout.words, len(weights), 1) if dropout.words > 0.0 else weights
            x = F.embedding(words, known) * mask(dropout.embedding, batch, h)
            masks = Masks(mask(dropout.inputs, batch, h), mask(dropout.hidden, batch, h))
            hidden, state = self.cell(x, state, masks, *architecture)
            dropped = hidden * mask(dropout.output, batch, h)
        return Said(F.linear(dropped, weights, self.bias), hidden, dropped, state)


@dataclass(frozen=True)
class _Header:
    kind: Literal["language_model"]
    cell: Genotype | None
    baseline: str
    model: LanguageModelConfig
    vocabulary: Vocabulary


def save_language_model(
    path: str | Path,
    model: LanguageModel,
    cell: Genotype | Baseline,
    config: LanguageModelConfig,
    vocabulary: Vocabulary,
) -> None:
    """Write a trained model with its vocabulary to one safetensors file, for `load_language_model`."""
    genotype, baseline = (cell, "") if isinstance(cell, Genotype) else (None, cell)
    save_tensors(path, model.state_dict(), to_dict(_Header("language_model", genotype, baseline, config, vocabulary)))


def load_language_model(path: str | Path, device: str = "cpu") -> tuple[LanguageModel, Vocabulary]:
    """A trained model and its vocabulary, from the file or the run folder that holds it. Executes no code from there.

    Raises:
        InputError: no such file, or it holds no language model, or one that does not fit its description.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / FILE
    tensors, header = load_tensors(path)
    if header.get("kind") != "language_model":
        raise InputError(f"{path}: got a file of kind {header.get('kind')!r}, expected a language model")
    try:
        told = from_dict(_Header, header)
        cell = told.cell or next((name for name in BASELINES if name == told.baseline), None)
        if cell is None:
            raise InputError(f"baseline: got {told.baseline!r}, expected one of {', '.join(BASELINES)}")
        with torch.device("meta"):
            size = told.model
            model = LanguageModel(build_cell(cell, size.hidden, size.hidden, size.norm_limit), len(told.vocabulary))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    wanted = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    found = {name: tuple(x.shape) for name, x in tensors.items()}
    if found != wanted:
        raise InputError(f"{path}: weights {found}, expected {wanted} of the model that it describes")
    model.load_state_dict(tensors, assign=True)
    return model.to(resolve(device)), told.vocabulary


def hidden_for(baseline: Baseline, parameters: int, vocabulary: int) -> int:
    """The hidden units with which a baseline's model has the number of parameters nearest to `parameters`."""

    def count(hidden: int) -> int:
        with torch.device("meta"):
            return count_parameters(LanguageModel(build_cell(baseline, hidden, hidden), vocabulary))

    low, high = 1, 2
    while count(high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= parameters else (low, middle)
    return min((low, high), key=lambda hidden: abs(count(hidden) - parameters))
