"""Training a language model, so that an interrupted run continues bit for bit, hidden state and averages included."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from base_fast.errors import Diverged, InputError
from base_fast.evaluation.bptt import BpttConfig, Place, Reader, mean_loss, negative_log_likelihood, noise
from base_fast.evaluation.language_model import LanguageModel
from base_fast.random import fold_in, key
from base_fast.runs import Clock, RunFolder, Step, changeable, run_loop, unchangeable
from base_fast.runs.loop import matching
from base_fast.tasks.text import Corpus


@dataclass(frozen=True)
class LanguageTrainConfig(BpttConfig):
    """How a language model is trained; the defaults are DARTS's for PTB.

    Source: as `BpttConfig`.
    """

    epochs: int = 8000
    """Passes over the text, each of as many steps as it has segments of usual length; ignored when steps is given."""
    steps: int | None = None
    """Segments to learn from, instead."""
    patience: int = 5
    """Evaluations without an improvement after which the weights are averaged from there on (NT-ASGD)."""
    checkpoint_every: int = changeable(0)
    """Steps between checkpoints in the run folder; 0 is once per pass."""
    log_every: int = changeable(20)
    """Steps between rows of the loss."""
    seed: int = 0
    """Decides on lengths of segments and dropout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "steps", "log_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: got {value}, expected an integer ≥ 1")
        if self.checkpoint_every < 0:
            raise InputError(f"checkpoint_every: got {self.checkpoint_every}, expected an integer ≥ 0")


@dataclass(frozen=True)
class LanguageTrainResult:
    """What came of a training: one row for each evaluation, of step, loss and valid_loss in nats, perplexity, and
    whether the weights were averaged; steps and seconds of all of it."""

    history: list[dict[str, float]]
    steps: int
    seconds: float

    @property
    def loss(self) -> float:
        """The lowest loss on the validation text, which is that of the weights that are kept."""
        return min(row["valid_loss"] for row in self.history)

    @property
    def perplexity(self) -> float:
        """Its exponential."""
        return perplexity(self.loss)


def perplexity(loss: float) -> float:
    """Of a mean negative log-likelihood in nats."""
    return math.exp(loss) if loss < 700.0 else math.inf


def train_language(
    model: LanguageModel,
    corpus: Corpus,
    config: LanguageTrainConfig,
    run: RunFolder | None = None,
    name: str = "language_model",
) -> LanguageTrainResult:
    """Train `model` in place on `corpus.train`; it ends with those weights that did best on `corpus.valid`.

    The text is read from its beginning in every pass, and hidden states go on from segment to segment. After every pass
    the validation text is measured. When it has not improved for `config.patience` passes, the average of all weights
    from there on is what is measured and kept. Lengths and dropout depend on `config.seed` and the step alone.

    Raises:
        Diverged: loss or gradient became NaN or infinite; the checkpoint before stays as it was.
        Interrupted: SIGINT or SIGTERM; with a run the state is saved, and the same call continues it.
        InputError: the text is too short for so many columns, or the checkpoint belongs to another training.
    """
    process = _Training(model, corpus, config)
    finished = run_loop(
        process,
        name=f"train/{name}",
        total=process.total,
        run=run,
        checkpoint_every=config.checkpoint_every or process.reader.steps_per_pass,
    )
    state = finished.state
    _write(process.weights, state.best)
    return LanguageTrainResult(state.history, finished.steps, finished.seconds)


class _State(NamedTuple):
    """Beside the weights, which the model holds.

    average: of the weights over `averaged` steps; the weights themselves before that. best: what did best so far.
    recent: loss, and words, since the last evaluation. passed: losses at the ends of passes.
    """

    step: int
    place: Place
    average: tuple[Tensor, ...]
    averaging: bool
    averaged: int
    best: tuple[Tensor, ...]
    recent: tuple[float, int]
    passed: list[float]
    history: list[dict[str, float]]


class _Training:
    """A training in place, as a process for `run_loop`."""

    def __init__(self, model: LanguageModel, corpus: Corpus, config: LanguageTrainConfig) -> None:
        self.model, self.corpus, self.config = model, corpus, config
        self.names = [name for name, _ in model.named_parameters()]
        self.weights = tuple(model.parameters())
        length_key, self.noise_key = (fold_in(key(config.seed), branch) for branch in (0, 1))
        self.reader = Reader(corpus.train.to(model.bias.device), config, length_key)
        self.total = config.steps or config.epochs * self.reader.steps_per_pass

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must have been written with."""
        return {**unchangeable(self.config), "text": self.corpus.digest}

    def start(self, clock: Clock) -> Step[_State]:
        place, weights = self.reader.start(self.model), _copied(self.weights)
        return Step(_State(0, place, (), False, 0, weights, (0.0, 0), [], []))

    def step(self, state: _State, clock: Clock) -> Step[_State]:
        config, reader = self.config, self.reader
        segment = reader.segment(state.place, state.step)
        said = self.model(segment.words, state.place.state, config.dropout, noise(self.noise_key, state.step))
        nll = negative_log_likelihood(said, segment.following)
        gradients = torch.autograd.grad(config.penalized(said, nll), self.weights)
        loss, words = nll.item(), segment.words.numel()
        if not math.isfinite(loss):
            raise Diverged(f"loss is {loss}; a smaller lr than {config.lr:.3g} may help")
        config.move(self.weights, gradients, len(segment.words))
        place = reader.after(state.place, segment, said.state, self.model)
        passed = place.passes > state.place.passes
        recent = (state.recent[0] + loss * words, state.recent[1] + words)
        state = self._averaged(state._replace(step=state.step + 1, place=place, recent=recent))
        row: dict[str, float] | None = None
        if passed or clock.limit():
            state = self._evaluated(state, passed)
            row = {name: value for name, value in state.history[-1].items() if name != "step"}
        elif state.step % config.log_every == 0:
            row = {"loss": loss}
        shown = {"perplexity": state.history[-1]["perplexity"]} if state.history else {}
        return Step(state, row, shown={"loss": loss, **shown})

    def _averaged(self, state: _State) -> _State:
        if not state.averaging:
            return state
        count = state.averaged + 1
        for mean, x in zip(state.average, self.weights, strict=True):
            mean.add_((x.detach() - mean) / count)
        return state._replace(averaged=count)

    def _evaluated(self, state: _State, passed: bool) -> _State:
        with _instead(self.weights, state.average):
            loss = mean_loss(self.model, self.corpus.valid)
            if not math.isfinite(loss):
                raise Diverged(f"validation loss is {loss}; a smaller lr than {self.config.lr:.3g} may help")
            better = all(loss < row["valid_loss"] for row in state.history)
            best = _copied(self.weights) if better else state.best
        row = {
            "step": state.step,
            "loss": state.recent[0] / state.recent[1],
            "valid_loss": loss,
            "perplexity": perplexity(loss),
            "averaged": float(state.averaging),
        }
        state = state._replace(best=best, recent=(0.0, 0), history=[*state.history, row])
        if not passed or state.averaging:
            return state
        earlier = state.passed[: -self.config.patience]
        if earlier and loss > min(earlier):
            return state._replace(averaging=True, average=_copied(self.weights))
        return state._replace(passed=[*state.passed, loss])

    def pack(self, state: _State) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {"state": state.place.state} | self._named("model", [x.detach() for x in self.weights])
        tensors |= self._named("best", state.best)
        if state.averaging:
            tensors |= self._named("average", state.average)
        rest = {"passes": state.place.passes, "row": state.place.row, "recent": list(state.recent)}
        kept = {name: getattr(state, name) for name in ("step", "averaging", "averaged", "passed", "history")}
        return tensors, {"identity": self.identity, **rest, **kept}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> _State:
        for name, value in self.identity.items():
            if header["identity"].get(name) != value:
                was = header["identity"].get(name)
                raise InputError(f"{name}: got {value!r}, expected {was!r}, with which it was written")
        state = self.start(Clock()).state
        averaging = bool(header["averaging"])
        expected, _ = self.pack(state._replace(averaging=averaging, average=state.best if averaging else ()))
        tensors = matching(tensors, expected)
        _write(self.weights, [tensors[f"model.{name}"] for name in self.names])
        return _State(
            header["step"],
            Place(header["passes"], header["row"], tensors["state"]),
            tuple(tensors[f"average.{name}"] for name in self.names) if averaging else (),
            averaging,
            header["averaged"],
            tuple(tensors[f"best.{name}"] for name in self.names),
            (header["recent"][0], header["recent"][1]),
            header["passed"],
            header["history"],
        )

    def _named(self, prefix: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        return {f"{prefix}.{name}": x for name, x in zip(self.names, tensors, strict=True)}


def _copied(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(x.detach().clone() for x in tensors)


def _write(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for x, value in zip(weights, values, strict=True):
            x.copy_(value)


@contextmanager
def _instead(weights: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """The model with other weights for a while; with its own where there are none."""
    if not values:
        yield
        return
    own = _copied(weights)
    _write(weights, values)
    try:
        yield
    finally:
        _write(weights, own)
