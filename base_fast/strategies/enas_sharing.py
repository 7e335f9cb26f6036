"""ENAS: a controller draws the children that train shared weights, and learns from how these judge its children."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import integer, whole_numbers
from base_fast.distributions import Controller
from base_fast.errors import InputError
from base_fast.meta.variables import Variables, for_task
from base_fast.objectives import SharedWeights
from base_fast.objectives.shared_training import SharedTraining, SharedTrainingConfig
from base_fast.objectives.workers import map_on_cores
from base_fast.posterior import Posterior
from base_fast.random import fold_in, key
from base_fast.runs import Clock, Step
from base_fast.space import decode
from base_fast.strategies.packing import pack, unpack
from base_fast.strategies.policy_gradient import PolicyGradient, PolicyState
from base_fast.strategies.strategy import OneShot, Result
from base_fast.supernet import Supernet
from base_fast.tasks import Task


@dataclass(frozen=True)
class EnasSharing(OneShot):
    """Settings of ENAS with shared weights.

    The steps of the weights, each on a child that the controller draws, are cut into `phases`; after each come
    `updates` of the controller, whose reward is the accuracy (a share) of each child on a batch of validation images of
    its own. At the end `candidates` are drawn and scored on the same validation images; the best is the result.

    Source: Pham, Guan, Zoph, Le, Dean, "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, with
    the sizes that Dong & Yang, NAS-Bench-201, ICLR 2020, chose for their space: batches of 128, learning rate 0.05 to
    0.0005; 50 updates of 20 children each after every epoch, 100 candidates at the end. Chosen here: one cosine, not
    restarts every ten epochs; no Nesterov momentum; Adam's ε of 1e-8 in the controller.
    """

    training: SharedTrainingConfig = SharedTrainingConfig(
        steps=48_750, batch_size=128, lr=0.05, lr_min=0.0005, weight_decay=2.5e-4
    )
    policy: PolicyGradient = PolicyGradient(lr=0.001, aggregate=20)
    """The controller, and how it learns; the reward is a share, from 0 to 1."""
    phases: int = 250
    """Into how many parts the steps of the weights are cut, evenly; the controller's turn comes after each."""
    warmup: int = 0
    """Phases before its first turn, in which its children are all but uniform: weights that are cold favour skip
    connections, and a controller that believes them early draws nothing else."""
    updates: int = 50
    """Updates of the controller in each of its turns, on `policy.aggregate` children each."""
    reward_images: int = 128
    """Validation images on which a child is rewarded."""
    candidates: int = 100
    """Children that are drawn at the end."""
    images: int | None = None
    """The largest number of validation images on which they are scored; all if unset."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("updates", "reward_images", "candidates"):
            integer(name, getattr(self, name), 1)
        if not 1 <= self.phases <= self.training.steps:
            raise InputError(
                f"phases, training.steps: got {self.phases}, {self.training.steps}, expected 1 ≤ the first ≤ both"
            )
        if not 0 <= self.warmup < self.phases:
            raise InputError(f"warmup, phases: got {self.warmup}, {self.phases}, expected 0 ≤ the first < the second")

    def turns(self, trained: int) -> int:
        """Turns of the controller that are due after so many steps of the weights."""
        return max(trained * self.phases // self.training.steps - self.warmup, 0)

    @property
    def cycle(self) -> int:
        return self.training.steps // self.phases

    def lasting(self, steps: int) -> EnasSharing:
        share = steps / self.training.steps
        phases = max(round(self.phases * share), 1)
        warmup = min(round(self.warmup * share), phases - 1)
        return replace(self, training=replace(self.training, steps=steps), phases=phases, warmup=warmup)

    def on(self, posterior: Posterior, task: Task, seed: int) -> EnasSharingSearch:
        supernet, prior = for_task(Supernet.for_posterior(posterior), Variables.of(posterior), "own", task.num_classes)
        return EnasSharingSearch(self, supernet, prior.mu, task, key(seed))


class EnasSharingState(NamedTuple):
    """theta, momentum (P,) after `trained` steps; the policy after `updated` updates; accuracies of the candidates so
    far (c,), in per cent."""

    theta: Tensor
    momentum: Tensor
    policy: PolicyState
    scores: Tensor
    trained: int
    updated: int


class EnasSharingSearch:
    """ENAS on a task, ready to run. A step trains the weights, or moves the controller, or scores a candidate.

    Args:
        settings: how long, and with what.
        supernet: with the task's head.
        theta: (P,) weights to start from.
        task: its training images move the weights, its validation images reward children and score candidates.
        key: of everything random.

    Raises:
        InputError: the settings name a controller that does not fit.
    """

    unit = "step"
    seconds = None

    def __init__(self, settings: EnasSharing, supernet: Supernet, theta: Tensor, task: Task, key: Tensor) -> None:
        self.settings, self.supernet, self.theta, self.task = settings, supernet, theta, task
        self.space = supernet.space
        self.training = SharedTraining(supernet, task.train, settings.training, fold_in(key, 0))
        # Rewards are losses' by-products, on validation batches that are not augmented.
        rewarding = replace(settings.training, batch_size=settings.reward_images, augmentation=None)
        self.validation = SharedTraining(supernet, task.valid, rewarding, fold_in(key, 1))
        self._child_key, self._update_key, self._candidate_key = (fold_in(key, i) for i in (2, 3, 4))
        self._policy = settings.policy.start(self.space, fold_in(key, 5))
        self.total = settings.training.steps + settings.candidates
        self.total += settings.turns(settings.training.steps) * settings.updates

    def start(self, clock: Clock) -> Step[EnasSharingState]:
        none = torch.empty(0, dtype=torch.float64, device="cpu")
        return Step(EnasSharingState(self.theta.detach(), torch.zeros_like(self.theta), self._policy, none, 0, 0))

    def step(self, state: EnasSharingState, clock: Clock) -> Step[EnasSharingState]:
        settings = self.settings
        if state.updated < settings.turns(state.trained) * settings.updates:
            return self._update(state)
        if state.trained < settings.training.steps:
            return self._train(state)
        return self._score(state)

    def result(self, state: EnasSharingState) -> Result:
        if len(state.scores) == 0:
            raise InputError("state: got a search that is not finished, expected scored candidates")
        candidates, before = self._candidates(state), self.total - self.settings.candidates
        judged = len(torch.unique(candidates[: len(state.scores)], dim=0)) * self.task.valid.at_most(
            self.settings.images
        )
        rewarded = state.updated * self.settings.policy.aggregate * self.task.valid.at_most(self.settings.reward_images)
        return Result(
            self._controller(state),
            decode(candidates[int(state.scores.argmax())].numpy(), self.space),
            SharedWeights.quantities[:1],
            [{"step": before + i + 1} | self._row(state, candidates, i) for i in range(len(state.scores))],
            {"training steps": float(state.trained), "images": float(rewarded + judged)},
        )

    def pack(self, state: EnasSharingState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return pack(state)

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> EnasSharingState:
        # First, and in words: a vector of weights unpacks whatever its length is.
        if "policy.weights" in tensors:
            self.settings.policy.distribution(self.space, tensors["policy.weights"])
        return unpack(self.start(Clock()).state, tensors, header)

    def _train(self, state: EnasSharingState) -> Step[EnasSharingState]:
        child = self._controller(state).sample(fold_in(self._child_key, state.trained), 1)[0]
        trained = self.training.step(state.theta, state.momentum, self._path(child), state.trained)
        after = state._replace(theta=trained.theta, momentum=trained.momentum, trained=state.trained + 1)
        return Step(after, trained.row, shown={"loss": trained.loss})

    def _update(self, state: EnasSharingState) -> Step[EnasSharingState]:
        policy, controller = self.settings.policy, self._controller(state)
        children = controller.sample(fold_in(self._update_key, state.updated), policy.aggregate)
        first = state.updated * policy.aggregate

        def reward(i: int) -> float:
            with torch.no_grad():
                return self.validation.loss(state.theta, self._path(children[i]), first + i)[1]

        rewards = torch.tensor(map_on_cores(reward, range(policy.aggregate)), dtype=torch.float64, device="cpu")
        moved = policy.update(self.space, state.policy, children, rewards)
        row = {
            "reward": rewards.mean().item(),
            "baseline": moved.baseline.value,
            "entropy": controller.trace(children).entropies.detach().sum(dim=1).mean().item(),
        }
        return Step(state._replace(policy=moved, updated=state.updated + 1), row, shown={"reward": row["reward"]})

    def _score(self, state: EnasSharingState) -> Step[EnasSharingState]:
        candidates, number = self._candidates(state), len(state.scores)
        known = (candidates[:number] == candidates[number]).flatten(1).all(dim=1).nonzero()
        if len(known):
            accuracy = state.scores[known[0]]
        else:
            judge = SharedWeights(self.supernet, state.theta, self.task.valid, self.settings.images)
            accuracy = judge.measure(candidates[number : number + 1], self._candidate_key).values[0, :1]
        after = state._replace(scores=torch.cat((state.scores, accuracy)))
        return Step(after, self._row(after, candidates, number), shown={"accuracy": accuracy.item()})

    def _controller(self, state: EnasSharingState) -> Controller:
        return self.settings.policy.distribution(self.space, state.policy.weights)

    def _candidates(self, state: EnasSharingState) -> Tensor:
        """(c, T, E): always the same draws of the last controller."""
        return self._controller(state).sample(self._candidate_key, self.settings.candidates)

    def _path(self, child: Tensor) -> Tensor:
        return F.one_hot(child, self.space.num_primitives).to(self.theta)

    def _row(self, state: EnasSharingState, candidates: Tensor, i: int) -> dict[str, Any]:
        return {
            "values": {"accuracy": state.scores[i].item()},
            "genotype": decode(candidates[i].numpy(), self.space).compact(),
            "best": state.scores[: i + 1].max().item(),
        }
