"""BASE as a search: the same adaptation as `adapt`, then the same derivation, asked for what every search leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from base_fast.meta import AdaptConfig, PlayOff, PlayOffConfig, Rule, monitors
from base_fast.meta.adapt import Adapting, AdaptState
from base_fast.meta.play_off import PlayOffState
from base_fast.objectives import SharedWeights
from base_fast.objectives.objective import added
from base_fast.posterior import Posterior, derive
from base_fast.runs import Clock, Step
from base_fast.strategies.strategy import OneShot, Result
from base_fast.tasks import Task

# Where a checkpoint keeps the play-off.
PLAY_OFF = "play_off."


@dataclass(frozen=True)
class Base(OneShot):
    """Settings of BASE's adaptation as a search.

    Source: Shaw, Wei, Liu, Song, Dai, "Meta Architecture Search", NeurIPS 2019.
    """

    adapt: AdaptConfig = AdaptConfig()
    """Budget, inner loop and schedules. Seed, device and checkpoints are the search's."""
    rule: Rule = "play_off"
    """How the genotype is derived: by a play-off of the most probable cells, or read off q(z) as `derive` does."""
    play_off: PlayOffConfig = PlayOffConfig()
    """Rounds of the play-off."""

    @property
    def cycle(self) -> int:
        return self.adapt.inner.architecture.every

    def lasting(self, steps: int) -> Base:
        budget = replace(self.adapt.budget, steps=steps, seconds=None)
        return replace(self, adapt=replace(self.adapt, budget=budget))

    def on(self, posterior: Posterior, task: Task, seed: int) -> BaseSearch:
        return BaseSearch(posterior, task, self.adapt, seed, self.rule, self.play_off)


class Playing(NamedTuple):
    """The play-off of an adaptation that is over, and where it stands."""

    process: PlayOff
    state: PlayOffState


class BaseState(NamedTuple):
    """Where the adaptation stands, and the play-off once it has begun."""

    adapted: AdaptState
    playing: Playing | None


class BaseSearch:
    """Steps on a task's negative ELBO, which move the weights' and the architecture's posteriors together, until the
    adaptation's budget is spent; then, if the rule says so, those of a play-off.

    Args:
        posterior: the prior to start from; fresh, for a search from scratch.
        task: its training images move the posterior, its validation images measure.
        config: budget, inner loop and schedules; its seed is replaced. The budget is that of the adaptation alone.
        seed: of everything random.
        rule: how the genotype is derived, see `meta.derived`.
        play_off: rounds of a play-off.
    """

    unit = "step"
    seconds = None

    def __init__(
        self,
        posterior: Posterior,
        task: Task,
        config: AdaptConfig,
        seed: int,
        rule: Rule = "play_off",
        play_off: PlayOffConfig | None = None,
    ) -> None:
        self.task, self.config = task, replace(config, seed=seed)
        self.process = Adapting.of(posterior, task, self.config)
        monitors.warn_of_pull(config.inner, self.process.prior.rho, len(task.train))
        self.rule, self.play_off = rule, play_off or PlayOffConfig()

    @property
    def total(self) -> int | None:
        """The most steps that there can be: every cell of the play-off at a time of its own."""
        steps = self.config.budget.steps
        if steps is None or self.rule != "play_off":
            return steps
        return steps + sum(self.play_off.sizes)

    def start(self, clock: Clock) -> Step[BaseState]:
        step = self.process.start(clock)
        return Step(BaseState(step.state, None), step.row)

    def step(self, state: BaseState, clock: Clock) -> Step[BaseState]:
        if state.playing is not None:
            process, before = state.playing
            played = process.step(before, clock)
            after = state._replace(playing=Playing(process, played.state))
            return Step(after, played.row, shown=played.shown, stopped=played.stopped)
        # The adaptation has limits of its own; its last step is not that of the search.
        limits = Clock(self.config.budget.steps, self.config.budget.seconds)
        limits.go_on(state.adapted.inner.step, clock.seconds)
        step = self.process.step(state.adapted, limits)
        stopped = limits.limit() or step.stopped
        playing = None
        if stopped is not None and self.rule == "play_off":
            process, stopped = self._play_off(step.state), None
            playing = Playing(process, process.start(clock).state)
        return Step(BaseState(step.state, playing), step.row, shown=step.shown, stopped=stopped)

    def _play_off(self, adapted: AdaptState) -> PlayOff:
        posterior = self.process.posterior_at(adapted)
        return PlayOff.of(posterior, adapted.inner.draws, self.task, self.play_off, self.config)

    def pack(self, state: BaseState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, header = self.process.pack(state.adapted)
        if state.playing is None:
            return tensors, {"adapted": header, "played": None}
        process, played = state.playing
        found, own = process.pack(played)
        return tensors | {PLAY_OFF + name: x for name, x in found.items()}, {"adapted": header, "played": own}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> BaseState:
        played = {name.removeprefix(PLAY_OFF): x for name, x in tensors.items() if name.startswith(PLAY_OFF)}
        rest = {name: x for name, x in tensors.items() if not name.startswith(PLAY_OFF)}
        adapted = self.process.unpack(rest, header["adapted"])
        if header["played"] is None:
            return BaseState(adapted, None)
        process = self._play_off(adapted)
        return BaseState(adapted, Playing(process, process.unpack(played, header["played"])))

    def result(self, state: BaseState) -> Result:
        adapted, playing = state
        posterior = self.process.posterior_at(adapted)
        history = [
            {"step": row["step"], "values": {"accuracy": 100.0 * row["accuracy"], "loss": row["loss"]}}
            for row in adapted.history
        ]
        spent = added({"training steps": float(adapted.inner.step)}, adapted.spent)
        if playing is None:
            genotype = derive(posterior, self.rule).genotype
        else:
            genotype = playing.process.record(playing.state).winner
            spent = added(spent, playing.process.spent(playing.state))
        return Result(posterior.architecture, genotype, SharedWeights.quantities, history, spent, posterior)
