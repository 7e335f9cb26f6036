"""Random search with weight sharing: one random child a step, then the best of many by the shared weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.distributions import Empirical, IndependentEdges
from base_fast.errors import InputError
from base_fast.meta.variables import Variables, for_task
from base_fast.objectives import SharedWeights
from base_fast.objectives.shared_training import SharedTraining, SharedTrainingConfig
from base_fast.posterior import Posterior
from base_fast.random import fold_in, key
from base_fast.runs import Clock, Step
from base_fast.space import decode
from base_fast.strategies.packing import pack, unpack
from base_fast.strategies.strategy import OneShot, Result
from base_fast.supernet import Supernet
from base_fast.tasks import Task


@dataclass(frozen=True)
class RandomSharing(OneShot):
    """Settings of random search with weight sharing.

    Every step trains the weights of one uniformly drawn child on one batch. Then `children` random ones are scored on
    one batch of validation images, and the `finalists` best of them on all (at most `images`); the best is the result.

    Source: Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019: 1000 children
    and 10 finalists for every 10,000 training steps, at least once. Gradients, schedule and sizes are those of DARTS.
    """

    training: SharedTrainingConfig = SharedTrainingConfig()
    children: int = 1000
    """Random genotypes that are scored."""
    finalists: int = 10
    """The best of them, which are scored again."""
    score_images: int = 64
    """Validation images of the first scores."""
    images: int | None = None
    """The largest number of validation images of the second; all if unset."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if not 1 <= self.finalists <= self.children:
            raise InputError(
                f"finalists, children: got {self.finalists}, {self.children}, expected 1 ≤ the first ≤ both"
            )

    def on(self, posterior: Posterior, task: Task, seed: int) -> RandomSharingSearch:
        supernet, prior = for_task(Supernet.for_posterior(posterior), Variables.of(posterior), "own", task.num_classes)
        return RandomSharingSearch(self, supernet, prior.mu, task, key(seed))


class SharingState(NamedTuple):
    """theta, momentum (P,); accuracies of the children (c,) and of the finalists (f,) so far, in per cent."""

    theta: Tensor
    momentum: Tensor
    scores: Tensor
    finals: Tensor
    step: int


class RandomSharingSearch:
    """Random search with weight sharing on a task, ready to run.

    Args:
        settings: how long, and with what.
        supernet: with the task's head.
        theta: (P,) weights to start from.
        task: its training images move the weights, its validation images score the children.
        key: of everything random.
    """

    unit = "step"
    seconds = None

    def __init__(self, settings: RandomSharing, supernet: Supernet, theta: Tensor, task: Task, key: Tensor) -> None:
        self.settings, self.supernet, self.theta, self.task = settings, supernet, theta, task
        self.training = SharedTraining(supernet, task.train, settings.training, fold_in(key, 0))
        self._child_key, self._score_key = fold_in(key, 1), fold_in(key, 2)
        self.uniform = IndependentEdges.uniform(supernet.space)
        self.total = settings.training.steps + settings.children + settings.finalists

    def start(self, clock: Clock) -> Step[SharingState]:
        none = torch.empty(0, dtype=torch.float64, device="cpu")
        return Step(SharingState(self.theta.detach(), torch.zeros_like(self.theta), none, none, 0))

    def step(self, state: SharingState, clock: Clock) -> Step[SharingState]:
        settings, number = self.settings, state.step
        after = state._replace(step=number + 1)
        if number < settings.training.steps:
            return self._train(after, number)
        if len(state.scores) < settings.children:
            choices = self._child(len(state.scores))
            accuracy = self._accuracy(state, choices, settings.score_images)
            after = after._replace(scores=torch.cat((state.scores, accuracy)))
            return Step(after, {"score": accuracy.item()}, shown={"score": accuracy.item()})
        choices = self._child(self._finalists(state)[len(state.finals)])
        accuracy = self._accuracy(state, choices, settings.images)
        after = after._replace(finals=torch.cat((state.finals, accuracy)))
        return Step(after, self._row(after, len(state.finals)), shown={"accuracy": accuracy.item()})

    def result(self, state: SharingState) -> Result:
        if len(state.finals) == 0:
            raise InputError("state: got a search that is not finished, expected scored finalists")
        finalists = torch.stack([self._child(number) for number in self._finalists(state)[: len(state.finals)]])
        history = [self._row(state, i) for i in range(len(state.finals))]
        scored = self.task.valid.at_most(self.settings.score_images) * len(state.scores)
        judged = self.task.valid.at_most(self.settings.images) * len(state.finals)
        return Result(
            Empirical(self.supernet.space, finalists),
            decode(finalists[int(state.finals.argmax())].numpy(), self.supernet.space),
            SharedWeights.quantities[:1],
            [{"step": self.settings.training.steps + len(state.scores) + i + 1} | row for i, row in enumerate(history)],
            {"training steps": float(self.settings.training.steps), "images": float(scored + judged)},
        )

    def pack(self, state: SharingState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return pack(state)

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> SharingState:
        return unpack(self.start(Clock()).state, tensors, header)

    def _train(self, state: SharingState, number: int) -> Step[SharingState]:
        choices = self.uniform.sample(fold_in(self._child_key, number), 1)[0]
        z = F.one_hot(choices, self.supernet.space.num_primitives).to(self.theta)
        trained = self.training.step(state.theta, state.momentum, z, number)
        after = state._replace(theta=trained.theta, momentum=trained.momentum)
        return Step(after, trained.row, shown={"loss": trained.loss})

    def _child(self, number: int) -> Tensor:
        """(T, E): scored child number `number`, always the same one."""
        return self.uniform.sample(fold_in(self._score_key, number), 1)[0]

    def _finalists(self, state: SharingState) -> list[int]:
        """Numbers of the best children, best first; of equal ones the earlier."""
        order: list[int] = torch.argsort(state.scores, descending=True, stable=True).tolist()
        return order[: self.settings.finalists]

    def _accuracy(self, state: SharingState, choices: Tensor, images: int | None) -> Tensor:
        """(1,) accuracy in per cent with the weights of the state."""
        judge = SharedWeights(self.supernet, state.theta, self.task.valid, images)
        return judge.measure(choices.unsqueeze(0), self._score_key).values[0, :1]

    def _row(self, state: SharingState, i: int) -> dict[str, Any]:
        genotype = decode(self._child(self._finalists(state)[i]).numpy(), self.supernet.space).compact()
        accuracy = state.finals[i].item()
        return {"values": {"accuracy": accuracy}, "genotype": genotype, "best": state.finals[: i + 1].max().item()}
