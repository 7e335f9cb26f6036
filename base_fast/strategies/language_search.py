"""One-shot searches of a recurrent cell: a mixture learns a text, and its architecture follows the validation text.

How the architecture of a step is drawn is what a `GradientStrategy` says (DARTS, GDAS, DrNAS, SNAS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import whole_numbers
from base_fast.device import resolve
from base_fast.distributions import IndependentEdges
from base_fast.errors import Diverged, InputError
from base_fast.evaluation.bptt import BpttConfig, Place, Reader, mean_loss, negative_log_likelihood, noise
from base_fast.evaluation.language_model import LanguageModel, LanguageModelConfig
from base_fast.evaluation.language_training import perplexity
from base_fast.meta import rules
from base_fast.meta.config import StepRule
from base_fast.nn.recurrent import MixedRecurrentCell
from base_fast.objectives.language import PERPLEXITY
from base_fast.random import fold_in, key
from base_fast.runs import Clock, Step
from base_fast.runs.loop import matching
from base_fast.space import Space
from base_fast.strategies.darts import Darts
from base_fast.strategies.drnas import DrNas
from base_fast.strategies.gdas import Gdas
from base_fast.strategies.one_shot import GradientStrategy, Tensors, leaves, moved
from base_fast.strategies.packing import pack, unpack
from base_fast.strategies.snas import Snas
from base_fast.strategies.strategy import Result
from base_fast.tasks.text import Corpus

Relaxation = Literal["darts", "gdas", "drnas", "snas"]
RELAXATIONS: dict[str, GradientStrategy] = {"darts": Darts(), "gdas": Gdas(), "drnas": DrNas(), "snas": Snas()}


@dataclass(frozen=True)
class LanguageOneShotConfig(BpttConfig):
    """How a mixture of recurrent cells is trained; the defaults are DARTS's for PTB, whose 50 passes are 5,200 steps.

    Source: Liu et al., DARTS, ICLR 2019, `rnn/train_search.py`.
    """

    batch_size: int = 256
    """Columns into which each text is cut; all are read at once."""
    weight_decay: float = 5e-7
    """L2 penalty on all weights."""
    steps: int = 5200
    """Steps of the weights."""
    architecture: StepRule = StepRule("adam", 3e-3)
    """How the architecture's variables move."""
    decay: float = 1e-3
    """L2 penalty on the architecture's variables."""
    warm_up: float = 0.0
    """Share of the steps, the first ones, in which the weights alone move."""
    evaluate_every: int = 100
    """Steps between measurements on the validation text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_numbers(self)
        for name in ("steps", "evaluate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")
        if not 0.0 <= self.decay < math.inf:
            raise InputError(f"decay: got {self.decay!r}, expected a finite number ≥ 0")
        if not 0.0 <= self.warm_up < 1.0:
            raise InputError(f"warm_up: got {self.warm_up!r}, expected a share of the steps in [0, 1)")
        if self.architecture.rule == "natural":
            raise InputError("architecture.rule: got 'natural', expected 'sgd' or 'adam'")


class LanguageState(NamedTuple):
    """Beside the weights, which the mixture holds: where either text is read, the architecture's variables and what
    their optimizer remembers, the steps done, and what was measured."""

    train: Place
    valid: Place
    variables: Tensors
    slots: Tensors
    step: int
    history: list[dict[str, Any]]


class LanguageSearch:
    """A one-shot search of a recurrent cell on a text, ready to run.

    A step is one of the architecture's variables on a segment of the validation text, then one of the weights on a
    segment of the training text (SNAS: both on the latter); each text has hidden states of its own.

    Args:
        relaxation: how the architecture is drawn.
        config: how both are trained.
        space: of recurrent cells.
        corpus: the text.
        model: size of the mixture.
        seed: of everything random.

    Raises:
        InputError: a text is too short for so many columns.
    """

    unit = "step"
    seconds = None

    def __init__(
        self,
        relaxation: Relaxation,
        config: LanguageOneShotConfig,
        space: Space,
        corpus: Corpus,
        model: LanguageModelConfig,
        seed: int,
    ) -> None:
        self.settings, self.config, self.space, self.corpus = RELAXATIONS[relaxation], config, space, corpus
        cell = MixedRecurrentCell(space, model.hidden, model.hidden, model.norm_limit)
        self.model = LanguageModel(cell, len(corpus.vocabulary)).to(resolve(model.device))
        self.names = [name for name, _ in self.model.named_parameters()]
        self.weights = tuple(self.model.parameters())
        keys = [fold_in(key(seed), branch) for branch in range(6)]
        self._start_key, self._logits_key, self._noise_key, self._z_key = keys[:4]
        self.train, self.valid = (
            Reader(text.to(self.model.bias.device), config, length)
            for text, length in zip((corpus.train, corpus.valid), keys[4:], strict=True)
        )
        self.total = config.steps

    def start(self, clock: Clock) -> Step[LanguageState]:
        self.model.initialize(self._start_key)
        uniform = IndependentEdges.uniform(self.space).logits
        variables = self.settings.initial(self.space, uniform, self._logits_key)
        slots = rules.initial_slots(self.config.architecture, torch.cat([x.flatten() for x in variables]))
        return Step(LanguageState(self.train.start(self.model), self.valid.start(self.model), variables, slots, 0, []))

    def step(self, state: LanguageState, clock: Clock) -> Step[LanguageState]:
        config, number = self.config, state.step
        learning = number >= math.floor(config.warm_up * config.steps + 1e-6)
        single = self.settings.learns_from == "train"
        row: dict[str, Any] = {}
        if learning and not single:
            variables = leaves(state.variables)
            loss, nll, place = self._loss(self.valid, state.valid, variables, number, 0)
            gradients = torch.autograd.grad(loss, variables)
            state = self._moved(state._replace(valid=place), variables, gradients)
            row["valid_loss"] = nll
        variables = leaves(state.variables)
        loss, nll, place = self._loss(self.train, state.train, variables, number, 1)
        if not math.isfinite(nll):
            raise Diverged(f"loss is {nll}; a smaller lr than {config.lr:.3g} may help")
        wanted = variables if learning and single else ()
        gradients = torch.autograd.grad(loss, (*self.weights, *wanted))
        config.move(self.weights, gradients[: len(self.weights)], self._words(state.train, number))
        if wanted:
            state = self._moved(state, variables, gradients[len(self.weights) :])
        state = state._replace(train=place, step=number + 1)
        row["loss"] = nll
        if state.step % config.evaluate_every == 0 or state.step == self.total:
            measured = self.measured(state)
            state = state._replace(history=[*state.history, measured])
            row |= {name: measured[name] for name in ("entropy", "derived")} | measured["values"]
            row["probabilities"] = torch.softmax(self._distribution(state).logits.double(), dim=-1).tolist()
        return Step(state, row, shown={"loss": nll})

    def measured(self, state: LanguageState) -> dict[str, Any]:
        """A row of the history: perplexity and loss of the mean architecture on the validation text, entropy (nats) of
        the distribution, the cell that would be derived now."""
        z = self.settings.mean(self.space, state.variables).to(self.model.bias)
        loss = mean_loss(self.model, self.corpus.valid, architecture=(z,))
        return {
            "step": state.step,
            "values": {"perplexity": perplexity(loss), "loss": loss},
            "entropy": self._distribution(state).entropy().item(),
            "derived": self.settings.genotype(self.space, state.variables).compact(),
        }

    def result(self, state: LanguageState) -> Result:
        return Result(
            self._distribution(state),
            self.settings.genotype(self.space, state.variables),
            PERPLEXITY,
            state.history,
            {"training steps": float(state.step)},
            notes=("Perplexity of the mixture of all cells; that of the cell takes a training of its own.",),
        )

    def pack(self, state: LanguageState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, header = pack(state)
        return tensors | {f"model.{name}": x.detach() for name, x in zip(self.names, self.weights, strict=True)}, header

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> LanguageState:
        start = self.start(Clock()).state
        expected, _ = self.pack(start)
        tensors = matching(tensors, expected)
        with torch.no_grad():
            for name, x in zip(self.names, self.weights, strict=True):
                x.copy_(tensors[f"model.{name}"])
        return unpack(start, tensors, header)

    def _words(self, place: Place, number: int) -> int:
        return len(self.train.segment(place, number).words)

    def _loss(
        self, reader: Reader, place: Place, variables: Tensors, number: int, of: int
    ) -> tuple[Tensor, float, Place]:
        """What a segment's loss is at a drawn architecture, differentiable, its likelihood alone, and where it ends."""
        segment = reader.segment(place, number)
        z = self.settings.z(variables, fold_in(fold_in(self._z_key, number), of), number / self.total)
        dropout = noise(fold_in(self._noise_key, of), number)
        said = self.model(segment.words, place.state, self.config.dropout, dropout, (z.to(self.model.bias),))
        nll = negative_log_likelihood(said, segment.following)
        loss, penalty = self.config.penalized(said, nll), self.settings.penalty(variables)
        after = reader.after(place, segment, said.state, self.model)
        return loss if penalty is None else loss + penalty, nll.item(), after

    def _moved(self, state: LanguageState, variables: Tensors, gradients: Tensors) -> LanguageState:
        after, slots = moved(self.config.architecture, self.config.decay, variables, gradients, state.slots)
        return state._replace(variables=after, slots=slots)

    def _distribution(self, state: LanguageState) -> IndependentEdges:
        return IndependentEdges(self.space, self.settings.logits(self.space, state.variables))
