"""NAO with weight sharing: one set of weights serves a population, which moves along a learned gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import integer, whole_numbers
from base_fast.distributions import Empirical, IndependentEdges
from base_fast.errors import InputError
from base_fast.meta.variables import Variables, for_task
from base_fast.objectives import SharedWeights, pairwise_accuracy
from base_fast.objectives.shared_training import SharedTraining, SharedTrainingConfig
from base_fast.posterior import Posterior
from base_fast.predictors.autoencoder import predicted, reconstruction_distance
from base_fast.random import fold_in, key
from base_fast.reference import philox
from base_fast.runs import Clock, Step
from base_fast.space import compact, decode
from base_fast.strategies.nao import Nao
from base_fast.strategies.packing import pack, unpack
from base_fast.strategies.strategy import OneShot, Result
from base_fast.supernet import Supernet
from base_fast.tasks import Task


@dataclass(frozen=True)
class NaoSharing(OneShot):
    """Settings of NAO with weight sharing.

    The weights' steps are divided into `rounds` + 1 phases. A step of a phase trains the path of one member of the
    population, drawn uniformly, on one batch. At its end every member is scored by the shared weights, all on the same
    validation images; then encoder, predictor and decoder are fitted to the scores, and the next population is the
    `nao.parents` best and `nao.round` new ones.

    The source scores each member on a batch of its own, which compares genotypes on different images, and its second
    version draws members in proportion to their numbers of parameters.

    Source: Luo et al., "Neural Architecture Optimization", NeurIPS 2018, NAO-WS.
    """

    training: SharedTrainingConfig = SharedTrainingConfig()
    rounds: int = 3
    """Times that new genotypes come into the population."""
    nao: Nao = Nao()
    """The first population, the new genotypes of a round, and the model."""
    images: int | None = 1000
    """The largest number of validation images that score a member; all if unset."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        integer("rounds", self.rounds, 0)
        if self.training.steps < self.rounds + 1:
            raise InputError(
                f"training.steps: got {self.training.steps}, expected at least one for each of {self.rounds + 1} phases"
            )

    def on(self, posterior: Posterior, task: Task, seed: int) -> NaoSharingSearch:
        supernet, prior = for_task(Supernet.for_posterior(posterior), Variables.of(posterior), "own", task.num_classes)
        return NaoSharingSearch(self, supernet, prior.mu, task, key(seed))


class NaoSharingState(NamedTuple):
    """theta, momentum (P,); population (n, T, E) of phase `phase`, and scores (m,) in per cent of its first m members.

    trained: steps of the weights, scored: images that scores took. rounds (r, 2): pairwise accuracy on the population,
    and the Hamming distance after encoding and decoding, of each model.
    """

    theta: Tensor
    momentum: Tensor
    population: Tensor
    scores: Tensor
    rounds: Tensor
    phase: int
    trained: int
    scored: int


class NaoSharingSearch:
    """NAO with weight sharing on a task, ready to run.

    Args:
        settings: how long, and with what.
        supernet: with the task's head.
        theta: (P,) weights to start from.
        task: its training images move the weights, its validation images score the population.
        key: of everything random.
    """

    unit = "step"
    total = None
    seconds = None

    def __init__(self, settings: NaoSharing, supernet: Supernet, theta: Tensor, task: Task, key: Tensor) -> None:
        self.settings, self.supernet, self.theta, self.task = settings, supernet, theta, task
        self.training = SharedTraining(supernet, task.train, settings.training, fold_in(key, 0))
        self._first_key, self._member_key, self._round_key = (fold_in(key, i) for i in (1, 2, 3))

    def start(self, clock: Clock) -> Step[NaoSharingState]:
        population = IndependentEdges.uniform(self.supernet.space).sample(self._first_key, self.settings.nao.first)
        none = torch.empty(0, dtype=torch.float64, device="cpu")
        rounds = torch.empty(0, 2, dtype=torch.float64, device="cpu")
        theta = self.theta.detach()
        return Step(NaoSharingState(theta, torch.zeros_like(theta), population, none, rounds, 0, 0, 0))

    def step(self, state: NaoSharingState, clock: Clock) -> Step[NaoSharingState]:
        if state.trained < self._until(state.phase):
            return self._train(state)
        if len(state.scores) < len(state.population):
            after = self._score(state)
            best = after.scores.max().item()
            last = state.phase == self.settings.rounds and len(after.scores) == len(after.population)
            row = {**self._row(after, len(state.scores)), "round": state.phase}
            shown = {"accuracy": after.scores[-1].item(), "best": best}
            return Step(after, row, shown=shown, stopped="rounds" if last else None)
        return self._train(self._next(state))

    def _until(self, phase: int) -> int:
        """Steps of the weights that are done at the end of a phase."""
        return self.settings.training.steps * (phase + 1) // (self.settings.rounds + 1)

    def _train(self, state: NaoSharingState) -> Step[NaoSharingState]:
        u = philox.uniform(fold_in(self._member_key, state.trained), 1).double()
        member = state.population[int(u * len(state.population))]
        z = F.one_hot(member, self.supernet.space.num_primitives).to(self.theta)
        trained = self.training.step(state.theta, state.momentum, z, state.trained)
        after = state._replace(theta=trained.theta, momentum=trained.momentum, trained=state.trained + 1)
        return Step(after, trained.row, shown={"loss": trained.loss, "round": state.phase})

    def _score(self, state: NaoSharingState) -> NaoSharingState:
        member = state.population[len(state.scores)].unsqueeze(0)
        judge = SharedWeights(self.supernet, state.theta, self.task.valid, self.settings.images)
        accuracy = judge.measure(member, self._first_key).values[0, :1]
        return state._replace(scores=torch.cat((state.scores, accuracy)), scored=state.scored + judge.images)

    def _next(self, state: NaoSharingState) -> NaoSharingState:
        """The population of the next phase."""
        nao, space = self.settings.nao, self.supernet.space
        proposed = nao.propose(space, state.population, state.scores, fold_in(self._round_key, state.phase))
        row = (
            pairwise_accuracy(predicted(proposed.model, state.population), state.scores),
            reconstruction_distance(proposed.model, state.population),
        )
        return state._replace(
            population=torch.cat((proposed.parents, proposed.choices)),
            scores=state.scores[:0],
            rounds=torch.cat((state.rounds, torch.tensor([row], dtype=torch.float64, device="cpu").nan_to_num(0.5))),
            phase=state.phase + 1,
        )

    def result(self, state: NaoSharingState) -> Result:
        if len(state.scores) == 0:
            raise InputError("state: got a search that is not finished, expected a scored population")
        nao, space = self.settings.nao, self.supernet.space
        scored = state.population[: len(state.scores)]
        notes = tuple(
            f"Round {i}: pairwise accuracy {known:.3f} on the population, Hamming distance after decoding {lost:.3f}."
            for i, (known, lost) in enumerate(state.rounds.tolist(), start=1)
        )
        return Result(
            Empirical(space, nao.best(scored, state.scores)),
            decode(scored[int(state.scores.argmax())].numpy(), space),
            SharedWeights.quantities[:1],
            [{"step": state.trained + i + 1} | self._row(state, i) for i in range(len(scored))],
            {"training steps": float(state.trained), "images": float(state.scored)},
            notes=notes,
        )

    def pack(self, state: NaoSharingState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return pack(state)

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> NaoSharingState:
        return unpack(self.start(Clock()).state, tensors, header)

    def _row(self, state: NaoSharingState, i: int) -> dict[str, Any]:
        return {
            "values": {"accuracy": state.scores[i].item()},
            "genotype": compact(state.population[i].numpy(), self.supernet.space),
            "best": state.scores[: i + 1].max().item(),
        }
