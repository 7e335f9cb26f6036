"""BASE's adaptation as a search: the same process as `adapt`, asked for what every search leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from base_fast.meta import AdaptConfig, monitors
from base_fast.meta.adapt import Adapting, AdaptState
from base_fast.objectives import SharedWeights
from base_fast.posterior import Posterior, derive
from base_fast.runs import Clock, Step
from base_fast.strategies.strategy import OneShot, Result
from base_fast.tasks import Task


@dataclass(frozen=True)
class Base(OneShot):
    """Settings of BASE's adaptation as a search.

    Source: Shaw, Wei, Liu, Song, Dai, "Meta Architecture Search", NeurIPS 2019.
    """

    adapt: AdaptConfig = AdaptConfig()
    """Budget, inner loop and schedules. Seed, device and checkpoints are the search's."""
    rule: Literal["darts", "pairs"] = "darts"
    """How the genotype is read off the posterior."""

    def on(self, posterior: Posterior, task: Task, seed: int) -> BaseSearch:
        return BaseSearch(posterior, task, self.adapt, seed, self.rule)


class BaseSearch:
    """Gradient steps on a task's negative ELBO, which move the weights' and the edges' posteriors together.

    Args:
        posterior: the prior to start from; fresh, for a search from scratch.
        task: its training images move the posterior, its validation images measure.
        config: budget, inner loop and schedules; its seed is replaced.
        seed: of everything random.
        rule: how the genotype is read off the posterior, see `posterior.derive`.
    """

    unit = "step"

    def __init__(self, posterior: Posterior, task: Task, config: AdaptConfig, seed: int, rule: str = "darts") -> None:
        self.process = Adapting.of(posterior, task, replace(config, seed=seed))
        monitors.warn_of_pull(config.inner, self.process.prior.rho, len(task.train))
        self.total, self.seconds, self.rule = config.budget.steps, config.budget.seconds, rule

    def start(self, clock: Clock) -> Step[AdaptState]:
        return self.process.start(clock)

    def step(self, state: AdaptState, clock: Clock) -> Step[AdaptState]:
        return self.process.step(state, clock)

    def pack(self, state: AdaptState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.process.pack(state)

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> AdaptState:
        return self.process.unpack(tensors, header)

    def result(self, state: AdaptState) -> Result:
        posterior = self.process.posterior_at(state)
        history = [
            {"step": row["step"], "values": {"accuracy": 100.0 * row["accuracy"], "loss": row["loss"]}}
            for row in state.history
        ]
        spent = {"training steps": float(state.inner.step)}
        return Result(
            posterior.architecture, derive(posterior, self.rule).genotype, SharedWeights.quantities, history, spent
        )
