"""Adaptation: the inner loop alone, on a new data set, from a saved posterior."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.device import resolve
from base_fast.distributions import IndependentEdges
from base_fast.meta import monitors
from base_fast.meta.architecture import Draws
from base_fast.meta.checkpoint import pack, unpack
from base_fast.meta.config import AdaptConfig, Schedule
from base_fast.meta.inner import Drawn, InnerLoop, InnerState
from base_fast.meta.variables import Variables, for_task
from base_fast.objectives.objective import added
from base_fast.objectives.shared_weights import path_scores
from base_fast.posterior import Posterior, mean_entropy
from base_fast.random import key
from base_fast.runs import Clock, RunFolder, Step, matching, run_loop
from base_fast.runs.artefacts import Evaluated, Searched, steps_to
from base_fast.supernet import Supernet
from base_fast.tasks import Split, Task


@dataclass(frozen=True)
class Adaptation:
    """What an adaptation came to.

    Attributes:
        posterior: of the task, with the task's head.
        history: one row per evaluation: step (gradient steps taken), accuracy, loss, seconds.
        steps: gradient steps taken.
        seconds: wall-clock time, over all resumptions of a run.
        stopped: which limit ended it: "steps", "seconds" or "entropy".
        draws: cells that were measured lately.
    """

    posterior: Posterior
    history: list[dict[str, float]]
    steps: int
    seconds: float
    stopped: str
    draws: Draws

    @property
    def record(self) -> Searched:
        """What stays of it in a run folder, besides the posterior."""
        history = tuple(Evaluated(int(r["step"]), r["accuracy"], r["loss"], r["seconds"]) for r in self.history)
        return Searched(self.accuracy, self.steps, self.seconds, self.stopped, history)

    @property
    def accuracy(self) -> float:
        """Validation accuracy at the end."""
        return self.history[-1]["accuracy"]

    def steps_to(self, accuracy: float) -> int | None:
        """The first evaluated step at which the validation accuracy was reached; None if never."""
        return steps_to(self.record.history, accuracy)


def accuracy_and_loss(
    supernet: Supernet, q: Variables, split: Split, *, at: str = "soft", images: int | None = None
) -> tuple[float, float]:
    """Accuracy and cross-entropy of the supernet at θ = μ, and z = softmax(φ), its one-hot, or the most probable cell.

    Args:
        at: "soft", "hard" or "single", as in `InnerConfig.z`.
        images: how many images to evaluate, the first of a split, which is in random order; None for all.
    """
    z = torch.softmax(q.alpha, dim=-1)
    if at != "soft":
        path = IndependentEdges(supernet.space, q.alpha).mode() if at == "single" else z.argmax(dim=-1)
        z = F.one_hot(path, supernet.space.num_primitives).to(q.mu)
    return path_scores(supernet, q.mu, z, split, at != "soft", images)


def adapt(
    posterior: Posterior,
    task: Task,
    config: AdaptConfig | None = None,
    *,
    run: RunFolder | None = None,
    name: str = "adapt",
) -> Adaptation:
    """Take gradient steps on the negative ELBO of `task`, starting at `posterior`, until the budget is spent.

    With a checkpoint of this name in `run` it continues from there, to the same result as without the interruption
    (a budget in seconds aside).

    Args:
        posterior: the prior that meta-training learned, or a fresh one for a search from scratch.
        run: where to log (phase `name`) and keep checkpoints.

    Raises:
        Diverged: a loss became NaN or infinite; the last checkpoint is kept.
        Interrupted: SIGINT or SIGTERM; with a run the state is saved, and the same call continues it.
        InputError: a task that does not fit the posterior and the head policy.
    """
    config = config or AdaptConfig()
    process = Adapting.of(posterior.to(resolve(config.device)), task, config)
    monitors.warn_of_pull(config.inner, process.prior.rho, len(task.train))
    monitors.warn_of_warmup(config.inner, config.warmup, config.budget.steps, "steps")
    finished = run_loop(
        process,
        name=name,
        total=config.budget.steps,
        seconds=config.budget.seconds,
        run=run,
        checkpoint_every=config.checkpoint_every,
    )
    adapted = process.posterior_at(finished.state)
    return Adaptation(
        adapted, finished.state.history, finished.steps, finished.seconds, finished.stopped, finished.state.inner.draws
    )


@dataclass(frozen=True)
class AdaptState:
    """inner: where the inner loop stands. entropies: the latest ones since the edge logits move. spent: what measuring
    cells cost, by unit."""

    inner: InnerState
    history: list[dict[str, float]]
    entropies: list[float]
    spent: dict[str, float]


@dataclass(frozen=True)
class Adapting:
    """An adaptation, as a process for `run_loop`."""

    posterior: Posterior
    task: Task
    config: AdaptConfig
    loop: InnerLoop

    @classmethod
    def of(cls, posterior: Posterior, task: Task, config: AdaptConfig) -> Adapting:
        """The adaptation of a posterior to a task, with the task's head; raises InputError where that does not fit."""
        whole = Supernet.for_posterior(posterior).computing_in(config.precision)
        supernet, prior = for_task(whole, Variables.of(posterior), config.inner.head, task.num_classes)
        usual = next((e["agreement"] for e in reversed(posterior.lineage) if e.get("agreement") is not None), None)
        loop = InnerLoop(supernet, prior, task, key(config.seed), config.inner, usual_agreement=usual)
        return cls(posterior, task, config, loop)

    @property
    def prior(self) -> Variables:
        return self.loop.prior

    def start(self, clock: Clock) -> Step[AdaptState]:
        inner = self.loop.start()
        scores = self._scores(inner)
        return Step(AdaptState(inner, self._history([], inner, scores, clock), [], {}), scores)

    def step(self, state: AdaptState, clock: Clock) -> Step[AdaptState]:
        config, before = self.config, state.inner
        tau, noise = self._scheduled(config.tau, before, clock), self._scheduled(config.noise, before, clock)
        loop = replace(
            self.loop,
            step_scale=config.step_size(self._share(before.step, 0, clock)),
            tau=tau,
            noise=noise,
            alpha_moves=before.step >= config.warmup,
        )
        inner, terms, norm = loop.step(before)
        drawn: list[Drawn] = []
        spent = state.spent
        if loop.draws_now(inner, last=clock.limit() is not None):
            inner, found = loop.draw(inner)
            drawn.append(found)
            spent = added(spent, found.spent)
        row: dict[str, Any] = {
            "loss": terms.loss.item(),
            "nll": terms.nll.item(),
            "kl_theta": terms.kl_theta.item(),
            "kl_z": terms.kl_z.item(),
            "train_accuracy": terms.accuracy.item(),
            "gradient_norm": norm,
            **monitors.architecture(self.loop.supernet.space, inner.q.alpha),
            **monitors.movement(inner.q, self.prior),
            **monitors.draws(drawn),
        }
        entropies = state.entropies
        if inner.step > config.warmup:
            latest = mean_entropy(inner.q.alpha).mean().item()
            entropies = [*entropies, latest][-config.budget.entropy_window :]
        stopped = "entropy" if self._settled(entropies) else None
        history = state.history
        if clock.limit() or stopped or (config.evaluate_every and inner.step % config.evaluate_every == 0):
            scores = self._scores(inner)
            history = self._history(history, inner, scores, clock)
            row |= {**scores, "probabilities": torch.softmax(inner.q.alpha, dim=-1).tolist()}
        shown = {"loss": f"{row['loss']:.3f}", "accuracy": f"{history[-1]['accuracy']:.3f}"}
        return Step(AdaptState(inner, history, entropies, spent), row, shown=shown, stopped=stopped)

    def _scheduled(self, schedule: Schedule, state: InnerState, clock: Clock) -> float:
        return schedule(self._share(state.step, self.config.warmup, clock))

    def _share(self, step: int, warmup: int, clock: Clock) -> float:
        """How much of the budget beyond a warm-up is spent."""
        budget = self.config.budget
        if budget.steps is not None:
            return (step - warmup) / max(budget.steps - warmup - 1, 1)
        return clock.seconds / budget.seconds if budget.seconds is not None else 0.0

    def _settled(self, entropies: list[float]) -> bool:
        budget = self.config.budget
        if budget.entropy_tolerance is None or len(entropies) < budget.entropy_window:
            return False
        return max(entropies) - min(entropies) < budget.entropy_tolerance

    def _scores(self, state: InnerState) -> dict[str, float]:
        config = self.config
        accuracy, loss = accuracy_and_loss(
            self.loop.supernet, state.q, self.task.valid, at=config.inner.z, images=config.evaluate_images
        )
        return {"accuracy": accuracy, "valid_loss": loss}

    @staticmethod
    def _history(
        before: list[dict[str, float]], state: InnerState, scores: dict[str, float], clock: Clock
    ) -> list[dict[str, float]]:
        accuracy, loss = scores["accuracy"], scores["valid_loss"]
        return [*before, {"step": state.step, "accuracy": accuracy, "loss": loss, "seconds": round(clock.seconds, 3)}]

    def posterior_at(self, state: AdaptState) -> Posterior:
        """The task's posterior, with the task's head."""
        event = {"event": "adapt", "task": self.task.name, "steps": state.inner.step, "config": asdict(self.config)}
        return replace(
            self.posterior,
            mu=self.prior.mu,
            rho=self.prior.rho,
            layout=self.loop.supernet.layout,
            config=dict(self.posterior.config) | {"num_classes": self.task.num_classes},
        ).evolve(state.inner.q, event)

    def pack(self, state: AdaptState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        header = {
            "step": state.inner.step,
            "history": state.history,
            "entropies": state.entropies,
            "spent": state.spent,
        }
        draws = {f"draws.{name}": x for name, x in state.inner.draws._asdict().items()}
        return pack(state.inner.q, state.inner.slots) | draws, header

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> AdaptState:
        fresh = self.loop.start()
        found = {name: tensors.pop(f"draws.{name}") for name in Draws._fields}
        empty = Draws.none(self.loop.supernet.space)
        # Any number of cells, each like those of this space.
        rows = {name: x[:0] for name, x in found.items()}
        matching(rows, empty._asdict())
        q, slots = unpack(matching(tensors, pack(fresh.q, fresh.slots)), fresh.slots)
        inner = InnerState(q, slots, header["step"], Draws(**found))
        return AdaptState(inner, header["history"], header["entropies"], header["spent"])
