"""PARSEC: children drawn from p(α | π), whose likelihoods say how much each moves the weights and π."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.meta import StepRule, rules
from base_fast.meta.variables import Variables, for_task
from base_fast.objectives import SharedWeights
from base_fast.objectives.shared_training import SharedTraining, SharedTrainingConfig
from base_fast.posterior import Posterior
from base_fast.random import fold_in, key
from base_fast.runs import Clock, Step
from base_fast.space import decode
from base_fast.strategies.likelihood_weights import LikelihoodWeights, architecture_gradient, likelihood_weights
from base_fast.strategies.packing import pack, unpack
from base_fast.strategies.strategy import OneShot, Result
from base_fast.strategies.transfer import check_cells, point_posterior
from base_fast.supernet import Supernet
from base_fast.tasks import Task


@dataclass(frozen=True)
class Parsec(OneShot):
    """Settings of PARSEC.

    A step draws K children from p(α | π), each edge a categorical. On a validation batch, π takes a step of Adam along
    Σ_k w_k ∇_π log p(α_k | π); on a training batch, the weights v one of SGD along Σ_k w_k ∇_v log p(y | X, v, α_k).
    The w_k are the children's normalized likelihoods on that batch, tempered until enough of them count. Children run
    one after another on their own path, so that memory is that of one. The result is the mode of p(α | π).

    Source: Casale, Gordon, Fusi, "Probabilistic Neural Architecture Search", arXiv:1902.05116; K from the entropy as in
    Yan et al., "FP-NAS: Fast Probabilistic Neural Architecture Search", CVPR 2021.
    """

    training: SharedTrainingConfig = SharedTrainingConfig()
    children: int | None = None
    """K, children of a step (16 in the source); if unset it follows the entropy of p(α | π)."""
    children_per_nat: float = 0.25
    """K for each nat of entropy, rounded up, where children is unset."""
    fewest: int = 4
    """The smallest K, where children is unset: of one child alone, likelihoods say nothing."""
    effective: float = 0.5
    """The smallest effective sample size of the weights, as a share of K; likelihoods are tempered to reach it."""
    architecture: StepRule = StepRule("adam", 0.01, beta1=0.5)
    """How the logits of π move."""
    warm_up: float = 0.1
    """Share of the steps, the first ones, in which π stands still and one child a step trains the weights."""
    strength: float = 1.0
    """Factor of the logits of a saved posterior to start from: the smaller, the less it is believed."""
    evaluate_every: int = 500
    """Steps between measurements of the mode on validation images."""
    images: int | None = 1000
    """The largest number of validation images of a measurement; all if unset."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("children", "fewest"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise InputError(f"{name}: got {value}, expected an integer ≥ 2: of one child, likelihoods say nothing")
        for name in ("evaluate_every", "images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: got {value}, expected an integer ≥ 1")
        for name in ("children_per_nat", "strength"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a finite number ≥ 0")
        if not 0.0 <= self.effective <= 1.0:
            raise InputError(f"effective: got {self.effective!r}, expected a share from 0 to 1")
        if not 0.0 <= self.warm_up < 1.0:
            raise InputError(f"warm_up: got {self.warm_up!r}, expected a share in [0, 1): π does not move before")
        if self.architecture.rule == "natural":
            raise InputError("architecture.rule: got 'natural', expected 'sgd' or 'adam'")

    def number(self, entropy: float) -> int:
        """K at an entropy of p(α | π) in nats."""
        if self.children is not None:
            return self.children
        return max(self.fewest, math.ceil(self.children_per_nat * entropy))

    def on(self, posterior: Posterior, task: Task, seed: int) -> ParsecSearch:
        supernet, prior = for_task(Supernet.for_posterior(posterior), Variables.of(posterior), "own", task.num_classes)
        return ParsecSearch(self, supernet, prior.mu, prior.alpha, task, key(seed), posterior.lineage)


class ParsecState(NamedTuple):
    """theta, momentum (P,); logits (T, E, L) of π and their optimizer's slots, in float64 on the CPU; the steps done;
    children trained, and images of which only likelihoods were asked, so far; what was measured."""

    theta: Tensor
    momentum: Tensor
    logits: Tensor
    slots: rules.Slots
    step: int
    trained: int
    images: int
    history: list[dict[str, Any]]


class Children(NamedTuple):
    """K draws: choices (K, T, E); paths (n, T, E, L), one-hot, of the n different ones; place (K,), the number of each
    draw's path. A sharp π draws the same child often, and it is worth the same each time."""

    choices: Tensor
    paths: Tensor
    place: Tensor

    def shares(self, weights: Tensor) -> list[float]:
        """Weights of the draws (K,) → of the paths."""
        found: list[float] = weights.new_zeros(len(self.paths)).index_add(0, self.place, weights).tolist()
        return found


class Batch(NamedTuple):
    """What a batch says of children: their weights; means, under these, of loss (nats) and of the share classified
    right."""

    weighed: LikelihoodWeights
    loss: float
    accuracy: float


class ParsecSearch:
    """PARSEC on a task, ready to run.

    Args:
        settings: how long, and with what.
        supernet: with the task's head.
        theta: (P,) weights to start from.
        logits: (T, E, L) of the π to start from, zeros for a fresh one.
        task: its training images move the weights, its validation images π.
        key: of everything random.
        lineage: of the posterior to start from.

    Raises:
        InputError: the supernet has no cell to search.
    """

    unit = "step"
    seconds = None

    def __init__(
        self,
        settings: Parsec,
        supernet: Supernet,
        theta: Tensor,
        logits: Tensor,
        task: Task,
        key: Tensor,
        lineage: tuple[dict[str, Any], ...] = (),
    ) -> None:
        check_cells(supernet)
        self.settings, self.supernet, self.theta, self.task = settings, supernet, theta, task
        self.logits, self.lineage = settings.strength * logits.detach().cpu().double(), lineage
        self.training = SharedTraining(supernet, task.train, settings.training, fold_in(key, 0))
        self.valid = SharedTraining(supernet, task.valid, settings.training, fold_in(key, 1))
        self._child_key = fold_in(key, 2)
        self.total = settings.training.steps
        self.warm_up = settings.training.share(settings.warm_up)

    def start(self, clock: Clock) -> Step[ParsecState]:
        theta = self.theta.detach()
        slots = rules.initial_slots(self.settings.architecture, self.logits)
        return Step(ParsecState(theta, torch.zeros_like(theta), self.logits, slots, 0, 0, 0, []))

    def step(self, state: ParsecState, clock: Clock) -> Step[ParsecState]:
        settings, number = self.settings, state.step
        entropy = self._distribution(state).entropy().item()
        warm = number < self.warm_up
        children = self.draw(state, 1 if warm else settings.number(entropy))
        row: dict[str, Any] = {"entropy": entropy, "children": len(children.place)}
        after = state
        if not warm:
            after, judged = self._move_architecture(after, children)
            row |= {
                "valid_loss": judged.loss,
                "valid_accuracy": judged.accuracy,
                "effective": judged.weighed.effective,
                "temperature": judged.weighed.temperature,
            }
        # Both gradients are taken at the same point: the children are those of π before its step.
        after, learned = self._move_weights(after, children)
        row |= {"loss": learned.loss, "train_accuracy": learned.accuracy, "lr": settings.training.lr_at(number)}
        row |= {"train_effective": learned.weighed.effective, "train_temperature": learned.weighed.temperature}
        after = after._replace(step=number + 1)
        shown = {"loss": f"{learned.loss:.3f}", "entropy": f"{entropy:.2f}", "children": len(children.place)}
        if after.step % settings.evaluate_every == 0 or after.step == self.total:
            measured = self.measured(after)
            after = after._replace(history=[*after.history, measured])
            row |= {"accuracy": measured["values"]["accuracy"] / 100.0, "derived": measured["derived"]}
            row["probabilities"] = torch.softmax(after.logits, dim=-1).tolist()
        return Step(after, row, shown=shown)

    def draw(self, state: ParsecState, number: int) -> Children:
        """The children of the next step, so many."""
        choices = self._distribution(state).sample(fold_in(self._child_key, state.step), number)
        different, place = torch.unique(choices, dim=0, return_inverse=True)
        return Children(choices, F.one_hot(different, self.supernet.space.num_primitives).to(self.theta), place)

    def measured(self, state: ParsecState) -> dict[str, Any]:
        """A row of the history: validation accuracy (%) and loss of the mode, which would be derived now."""
        mode = self._distribution(state).mode()
        judge = SharedWeights(self.supernet, state.theta, self.task.valid, self.settings.images)
        accuracy, loss = judge.measure(mode.unsqueeze(0), self._child_key).values[0].tolist()
        return {
            "step": state.step,
            "values": {"accuracy": accuracy, "loss": loss},
            "derived": decode(mode.numpy(), self.supernet.space).compact(),
        }

    def result(self, state: ParsecState) -> Result:
        distribution = self._distribution(state)
        return Result(
            distribution,
            decode(distribution.mode().numpy(), self.supernet.space),
            SharedWeights.quantities,
            state.history,
            {"training steps": float(state.trained), "images": float(state.images)},
            point_posterior(
                self.supernet, state.theta, state.logits, self.settings, self.task, state.step, self.lineage
            ),
        )

    def pack(self, state: ParsecState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return pack(state)

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> ParsecState:
        return unpack(self.start(Clock()).state, tensors, header)

    def _move_architecture(self, state: ParsecState, children: Children) -> tuple[ParsecState, Batch]:
        """π after a step of its own on the step's validation batch."""
        weighed, losses, right = self._weighed(self.valid, state, children)
        along = -architecture_gradient(self.supernet.space, state.logits, children.choices, weighed.weights)
        rule = self.settings.architecture
        logits, slots = rules.step(rule, rule.lr, state.logits, along, state.slots)
        shares = children.shares(weighed.weights)
        seen = state.images + len(losses) * self._batch_size(self.valid)
        return state._replace(logits=logits, slots=slots, images=seen), Batch(
            weighed, _mean(shares, losses), _mean(shares, right)
        )

    def _move_weights(self, state: ParsecState, children: Children) -> tuple[ParsecState, Batch]:
        """The weights after a step of their own on the step's training batch: gradients are added child by child."""
        number, seen = state.step, state.images
        weighed = LikelihoodWeights(torch.ones(1, dtype=torch.float64, device="cpu"), 1.0, 1.0)
        if len(children.place) > 1:
            weighed, losses, _ = self._weighed(self.training, state, children)
            seen += len(losses) * self._batch_size(self.training)
        shares = children.shares(weighed.weights)
        gradient = torch.zeros_like(state.theta)
        losses, right = [], []
        for z, share in zip(children.paths, shares, strict=True):
            theta = state.theta.detach().requires_grad_(True)
            loss, accuracy = self.training.loss(theta, z, number)
            gradient.add_(torch.autograd.grad(loss, theta)[0], alpha=share)
            losses.append(loss.item())
            right.append(accuracy)
        theta, momentum = self.training.move(state.theta, state.momentum, gradient, number)
        trained = state.trained + len(children.paths)
        return state._replace(theta=theta, momentum=momentum, trained=trained, images=seen), Batch(
            weighed, _mean(shares, losses), _mean(shares, right)
        )

    def _weighed(
        self, on: SharedTraining, state: ParsecState, children: Children
    ) -> tuple[LikelihoodWeights, list[float], list[float]]:
        """Weights of the draws (K,) on the step's batch; loss and share classified right of each path."""
        with torch.no_grad():
            found = [on.loss(state.theta, z, state.step) for z in children.paths]
        losses, right = [loss.item() for loss, _ in found], [accuracy for _, accuracy in found]
        log_likelihoods = -self._batch_size(on) * torch.tensor(losses, dtype=torch.float64, device="cpu")
        return likelihood_weights(log_likelihoods[children.place], self.settings.effective), losses, right

    def _batch_size(self, on: SharedTraining) -> int:
        return on.train.at_most(on.config.batch_size)

    def _distribution(self, state: ParsecState) -> IndependentEdges:
        return IndependentEdges(self.supernet.space, state.logits)


def _mean(shares: list[float], values: list[float]) -> float:
    return math.fsum(share * value for share, value in zip(shares, values, strict=True))
