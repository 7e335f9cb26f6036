"""The trainer of every gradient-based one-shot search, and what such a search has to say.

One step is a gradient step of the architecture's variables on a validation batch, then one of the supernet's weights on
a training batch; or, where both learn from one loss (a single level), one gradient step of both on a training batch.
A search differs from another in what it says of z, and in whose loss moves it.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.distributions import IndependentEdges
from base_fast.errors import Diverged, InputError
from base_fast.meta import rules
from base_fast.meta.config import StepRule
from base_fast.meta.variables import Variables, for_task
from base_fast.objectives import SharedWeights
from base_fast.objectives.shared_training import SharedTraining, SharedTrainingConfig
from base_fast.objectives.shared_weights import path_scores
from base_fast.posterior import Posterior
from base_fast.random import fold_in, key
from base_fast.reference import philox
from base_fast.runs import Clock, Step
from base_fast.space import Genotype, SkipLimit, Space
from base_fast.space import derive as derive_genotype
from base_fast.space.derivation import Rule
from base_fast.strategies.auxiliary_skip import AuxiliarySkip
from base_fast.strategies.collapse import SkipMonitor, skip_connections
from base_fast.strategies.packing import pack, unpack
from base_fast.strategies.perturbation import Perturbation
from base_fast.strategies.projection import ProjectedSearch, Projection
from base_fast.strategies.strategy import OneShot, Result
from base_fast.strategies.transfer import check_cells, point_posterior
from base_fast.supernet import Supernet
from base_fast.tasks import Task

Tensors = tuple[Tensor, ...]
Settings = TypeVar("Settings", bound="GradientStrategy")

INITIAL_SCALE = 1e-3


class Point(NamedTuple):
    """Where a supernet stands before step `number` of its weights.

    theta, momentum: (P,). z: (T, E, L), the architecture at hand, like theta. hard: whether it is one-hot.
    training, valid: losses and steps on the batches of either split; those of the step have its number.
    """

    theta: Tensor
    momentum: Tensor
    z: Tensor
    hard: bool
    number: int
    training: SharedTraining
    valid: SharedTraining


class BatchGradient(NamedTuple):
    """What a batch says of z: the gradient (T, E, L) of its loss, that loss, and the share classified right."""

    gradient: Tensor
    loss: float
    accuracy: float


def first_order(at: Point) -> BatchGradient:
    """The gradient of the validation loss with respect to z, at the weights as they are."""
    z = at.z.detach().requires_grad_(True)
    loss, accuracy = at.valid.loss(at.theta, z, at.number, at.hard)
    (gradient,) = torch.autograd.grad(loss, z)
    return BatchGradient(gradient, loss.item(), accuracy)


@dataclass(frozen=True)
class GradientStrategy(OneShot):
    """What a gradient-based one-shot search says; `GradientSearch` does the rest.

    The architecture's variables are a tuple of tensors on the CPU; the first are the edges' logits (T, E, L) unless
    `logits` says otherwise. They are moved along gradients by `architecture`, after a `warm_up` of the weights alone.
    """

    training: SharedTrainingConfig = SharedTrainingConfig()
    architecture: StepRule = StepRule("adam", 3e-4, beta1=0.5)
    """How the architecture's variables move."""
    decay: float = 1e-3
    """L2 penalty on the architecture's variables."""
    warm_up: float = 0.0
    """Share of the steps, the first ones, in which the weights alone move."""
    evaluate_every: int = 500
    """Steps between measurements on validation images, and of the skip connections of the cell derived then."""
    images: int | None = 1000
    """The largest number of validation images of a measurement; all if unset."""
    monitor: SkipMonitor = SkipMonitor()
    """How many skip connections are worth a warning, or end the search."""
    skip_limit: int | None = None
    """The most skip connections of the normal cell that is derived (P-DARTS: 2); any number if unset."""
    perturbation: Perturbation | None = None
    """SDARTS: the weights take their steps at a perturbed architecture, if set."""
    auxiliary_skip: AuxiliarySkip | None = None
    """DARTS-: a further skip connection on every edge that fades away, if set."""
    projection: Projection | None = None
    """DARTS-PT: after the search the cell is selected by perturbation, if set; by magnitude if unset."""

    hard: ClassVar[bool] = False
    """Whether z is one-hot, and only the drawn primitives run."""
    learns_from: ClassVar[Literal["valid", "train"]] = "valid"
    """Whose loss moves the variables: train for a single level."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if not 0.0 <= self.warm_up < 1.0:
            raise InputError(
                f"warm_up: got {self.warm_up!r}, expected a share of the steps in [0, 1): the architecture does not "
                "move before"
            )
        for name in ("evaluate_every", "images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: got {value}, expected an integer ≥ 1")
        if not 0.0 <= self.decay < math.inf:
            raise InputError(f"decay: got {self.decay!r}, expected a finite number ≥ 0")
        if self.architecture.rule == "natural":
            raise InputError("architecture.rule: got 'natural', expected 'sgd' or 'adam'")
        if self.skip_limit is not None and self.skip_limit < 0:
            raise InputError(f"skip_limit: got {self.skip_limit}, expected an integer ≥ 0")
        if self.skip_limit is not None and self.projection is not None:
            raise InputError("skip_limit, projection: got both; projection reads no magnitudes that could be limited")
        for name in ("perturbation", "auxiliary_skip", "projection"):
            if self.hard and getattr(self, name) is not None:
                raise InputError(f"{name}: it changes mixtures, and this search runs one primitive on each edge")

    @property
    def warm_up_steps(self) -> int:
        """The first steps, in which the weights alone move."""
        return self.training.share(self.warm_up)

    def lasting(self: Settings, steps: int) -> Settings:
        share, projection = steps / self.training.steps, self.projection
        if projection is not None:
            projection = replace(projection, tuning=round(share * projection.tuning))
        return replace(self, training=replace(self.training, steps=steps), projection=projection)

    def initial(self, space: Space, logits: Tensor, key: Tensor) -> Tensors:
        """The variables at the start, from the logits (T, E, L) of a prior, which are zero for a fresh one."""
        return (logits + INITIAL_SCALE * philox.normal(key, logits.numel()).view(logits.shape).to(logits),)

    @abstractmethod
    def z(self, variables: Tensors, key: Tensor, progress: float) -> Tensor:
        """The architecture (T, E, L) of a step, differentiable in the variables.

        Args:
            key: of its noise.
            progress: the share of the steps that are done, in [0, 1).
        """

    def penalty(self, variables: Tensors) -> Tensor | None:
        """What is added to the loss that moves the variables, differentiable in them; None for nothing."""
        return None

    def batch_gradient(self, at: Point) -> BatchGradient:
        """What a step's validation batch says of z."""
        return first_order(at)

    def logits(self, space: Space, variables: Tensors) -> Tensor:
        """(T, E, L): those of the distribution that the variables stand for."""
        return variables[0]

    def mean(self, space: Space, variables: Tensors) -> Tensor:
        """(T, E, L): the architecture on which the search is measured, without noise; one-hot where z is."""
        logits = self.logits(space, variables)
        if self.hard:
            return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits)
        return torch.softmax(logits, dim=-1)

    def genotype(self, space: Space, variables: Tensors) -> Genotype:
        """The cell that the search would choose: the strongest primitives and edges, as DARTS derives."""
        return derive_genotype(torch.softmax(self.logits(space, variables).double(), dim=-1).numpy(), space, self.rule)

    @property
    def rule(self) -> Rule:
        """How genotypes are derived."""
        return "darts" if self.skip_limit is None else SkipLimit(self.skip_limit)

    def on(self, posterior: Posterior, task: Task, seed: int) -> GradientSearch | ProjectedSearch:
        whole = Supernet.for_posterior(posterior)
        expected = self.supernet(whole.config)
        if expected != whole.config:
            raise InputError(f"posterior: got one of {whole.config}, expected {expected}, as this search needs it")
        supernet, prior = for_task(whole, Variables.of(posterior), "own", task.num_classes)
        search = GradientSearch(self, supernet, prior.mu, task, key(seed), prior.alpha, posterior.lineage)
        return search if self.projection is None else ProjectedSearch(search, self.projection, fold_in(key(seed), 4))


class GradientState(NamedTuple):
    """theta, momentum (P,); the architecture's variables, and what their optimizer remembers of them, laid end to end;
    the variables when they were last measured without too many skip connections; the steps done; what was measured so
    far."""

    theta: Tensor
    momentum: Tensor
    variables: Tensors
    slots: Tensors
    healthy: Tensors
    step: int
    history: list[dict[str, Any]]


class GradientSearch:
    """A gradient-based one-shot search on a task, ready to run.

    Args:
        settings: what the search says.
        supernet: with the task's head.
        theta: (P,) weights to start from.
        task: its training images move the weights; its validation images measure, and move the architecture's
            variables unless there is a single level.
        key: of everything random.
        logits: (T, E, L) of the prior; all equal if not given.
        lineage: of the posterior to start from.

    Raises:
        InputError: the supernet has no cell to search.
    """

    unit = "step"
    seconds = None

    def __init__(
        self,
        settings: GradientStrategy,
        supernet: Supernet,
        theta: Tensor,
        task: Task,
        key: Tensor,
        logits: Tensor | None = None,
        lineage: tuple[dict[str, Any], ...] = (),
    ) -> None:
        check_cells(supernet)
        self.settings, self.supernet, self.theta, self.task = settings, supernet, theta, task
        self.lineage = lineage
        self.training = SharedTraining(supernet, task.train, settings.training, fold_in(key, 0))
        self.valid = SharedTraining(supernet, task.valid, settings.training, fold_in(key, 1))
        self._start_key, self._noise_key = fold_in(key, 2), fold_in(key, 3)
        if logits is None:
            logits = IndependentEdges.uniform(supernet.space).logits
        # Few numbers: on the CPU the draws and steps of any device are the same.
        self._logits = logits.detach().to("cpu", theta.dtype)
        self.total = settings.training.steps

    def start(self, clock: Clock) -> Step[GradientState]:
        variables = self.settings.initial(self.supernet.space, self._logits, self._start_key)
        slots = rules.initial_slots(self.settings.architecture, _flat(variables))
        theta = self.theta.detach()
        return Step(GradientState(theta, torch.zeros_like(theta), variables, slots, variables, 0, []))

    def step(self, state: GradientState, clock: Clock) -> Step[GradientState]:
        settings, number = self.settings, state.step
        learning, single = number >= settings.warm_up_steps, settings.learns_from == "train"
        row: dict[str, Any] = {}
        if learning and not single:
            variables = leaves(state.variables)
            z = self.z(variables, number, "architecture")
            found = settings.batch_gradient(self._point(state, z))
            state = self._moved(state, variables, z, found.gradient)
            row = {"valid_loss": found.loss, "valid_accuracy": found.accuracy}
        variables = leaves(state.variables) if learning and single else state.variables
        z = self.z(variables, number, "weights")
        at = self._perturbed(state, z.to(self.theta))
        trained = self.training.step(state.theta, state.momentum, at, number, settings.hard)
        if trained.z_gradient is not None:
            state = self._moved(state, variables, z, trained.z_gradient)
        state = state._replace(theta=trained.theta, momentum=trained.momentum, step=number + 1)
        row, stopped = trained.row | row, None
        if state.step % settings.evaluate_every == 0 or state.step == self.total:
            measured = self.measured(state)
            state = state._replace(history=[*state.history, measured])
            row |= {name: measured[name] for name in ("entropy", "skips", "derived")}
            row["accuracy"] = measured["values"]["accuracy"] / 100.0
            row["probabilities"] = torch.softmax(self._distribution(state).logits.double(), dim=-1).tolist()
            state, stopped = self._watched(state)
        return Step(state, row, shown={"loss": row["loss"]}, stopped=stopped)

    def z(self, variables: Tensors, number: int, of: Literal["architecture", "weights"]) -> Tensor:
        """(T, E, L): what runs in step `number`, on the CPU. The steps of architecture and weights draw their own."""
        noise = fold_in(fold_in(self._noise_key, number), ("architecture", "weights").index(of))
        z, auxiliary = self.settings.z(variables, noise, number / self.total), self.settings.auxiliary_skip
        return z if auxiliary is None else auxiliary.added(z, self.supernet.space, number / self.total)

    def measured(self, state: GradientState) -> dict[str, Any]:
        """A row of the history: validation accuracy (%) and loss of the mean architecture, entropy (nats) of the
        distribution, the cell that would be derived now, and the skip connections it would have without a limit."""
        settings, space = self.settings, self.supernet.space
        accuracy, loss = path_scores(
            self.supernet,
            state.theta,
            settings.mean(space, state.variables).to(self.theta),
            self.task.valid,
            settings.hard,
            settings.images,
        )
        genotype = settings.genotype(space, state.variables)
        return {
            "step": state.step,
            "values": {"accuracy": 100.0 * accuracy, "loss": loss},
            "entropy": self._distribution(state).entropy().item(),
            "skips": skip_connections(replace(settings, skip_limit=None).genotype(space, state.variables)),
            "derived": genotype.compact(),
        }

    def result(self, state: GradientState) -> Result:
        images = self.task.valid.at_most(self.settings.images)
        distribution = self._distribution(state)
        return Result(
            distribution,
            self.settings.genotype(self.supernet.space, state.variables),
            SharedWeights.quantities,
            state.history,
            {
                "training steps": float(state.step),
                "architecture steps": float(max(state.step - self.settings.warm_up_steps, 0)),
                "images": float(images * len(state.history)),
            },
            posterior=point_posterior(
                self.supernet, state.theta, distribution.logits, self.settings, self.task, state.step, self.lineage
            ),
            notes=self.settings.monitor.notes(state.history),
        )

    def pack(self, state: GradientState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return pack(state)

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> GradientState:
        return unpack(self.start(Clock()).state, tensors, header)

    def _point(self, state: GradientState, z: Tensor) -> Point:
        z = z.detach().to(self.theta)
        return Point(state.theta, state.momentum, z, self.settings.hard, state.step, self.training, self.valid)

    def _perturbed(self, state: GradientState, z: Tensor) -> Tensor:
        """Where the weights take their step, for z (T, E, L), which is where the variables take theirs."""
        part, number = self.settings.perturbation, state.step
        if part is None:
            return z

        def loss(z: Tensor) -> Tensor:
            return self.training.loss(state.theta, z, number, self.settings.hard)[0]

        moved = part.perturbed(z, loss, fold_in(fold_in(self._noise_key, number), 2), number / self.total)
        return moved.requires_grad_(z.requires_grad)

    def _watched(self, state: GradientState) -> tuple[GradientState, str | None]:
        """The state after a look at what was just measured, and why the search ends, if it does."""
        monitor, history = self.settings.monitor, state.history
        warning = monitor.warning(history)
        if warning is not None and monitor.warning(history[:-1]) is None:
            warnings.warn(warning, stacklevel=2)
        if not monitor.suspects(history[-1]["skips"]):
            return state._replace(healthy=state.variables), None
        if not monitor.stops(history):
            return state, None
        return state._replace(variables=state.healthy), "skip connections"

    def _moved(self, state: GradientState, variables: Tensors, z: Tensor, gradient: Tensor) -> GradientState:
        """The state after a step of the variables, which z came from, along the gradient (T, E, L) of z's loss."""
        loss = (z * gradient.to(z)).sum()
        penalty = self.settings.penalty(variables)
        found = torch.autograd.grad(loss if penalty is None else loss + penalty, variables)
        after, slots = moved(self.settings.architecture, self.settings.decay, variables, found, state.slots)
        return state._replace(variables=after, slots=slots)

    def _distribution(self, state: GradientState) -> IndependentEdges:
        space = self.supernet.space
        return IndependentEdges(space, self.settings.logits(space, state.variables))


def moved(
    rule: StepRule, decay: float, variables: Tensors, gradients: Tensors, slots: Tensors
) -> tuple[Tensors, Tensors]:
    """The architecture's variables after a step along gradients with L2 penalty `decay`, and what its rule remembers.

    Raises:
        Diverged: a gradient is NaN or infinite.
    """
    along, before = _flat(gradients), _flat(variables)
    if not bool(torch.isfinite(along).all()):
        raise Diverged("the gradient of the architecture is NaN or infinite; a smaller lr may help")
    after, slots = rules.step(rule, rule.lr, before, along + decay * before, slots)
    parts = after.split([x.numel() for x in variables])
    return tuple(part.view(x.shape) for part, x in zip(parts, variables, strict=True)), slots


def leaves(variables: Tensors) -> Tensors:
    """The same variables, for gradients with respect to them."""
    return tuple(x.detach().requires_grad_(True) for x in variables)


def _flat(variables: Tensors) -> Tensor:
    return torch.cat([x.detach().flatten() for x in variables])
