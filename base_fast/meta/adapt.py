"""Adaptation: the inner loop alone, on a new data set, from a saved posterior."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from base_fast.device import resolve
from base_fast.errors import Diverged, Interrupted
from base_fast.meta import monitors
from base_fast.meta.checkpoint import matching, pack, unpack
from base_fast.meta.config import AdaptConfig, Schedule
from base_fast.meta.elbo import Elbo
from base_fast.meta.inner import InnerLoop, InnerState
from base_fast.meta.variables import Variables, for_task
from base_fast.posterior import Posterior, mean_entropy
from base_fast.random import key
from base_fast.runs import RunFolder, interruptible, progress
from base_fast.supernet import Supernet
from base_fast.tasks import Split, Task

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Adaptation:
    """What an adaptation came to.

    Attributes:
        posterior: of the task, with the task's head.
        history: one row per evaluation: step (gradient steps taken), accuracy, loss, seconds.
        steps: gradient steps taken.
        seconds: wall-clock time, over all resumptions of a run.
        stopped: which limit ended it: "steps", "seconds" or "entropy".
    """

    posterior: Posterior
    history: list[dict[str, float]]
    steps: int
    seconds: float
    stopped: str

    @property
    def accuracy(self) -> float:
        """Validation accuracy at the end."""
        return self.history[-1]["accuracy"]

    def steps_to(self, accuracy: float) -> int | None:
        """The first evaluated step at which the validation accuracy was reached; None if never."""
        return next((int(row["step"]) for row in self.history if row["accuracy"] >= accuracy), None)


def accuracy_and_loss(
    supernet: Supernet, q: Variables, split: Split, *, hard: bool = False, images: int | None = None
) -> tuple[float, float]:
    """Accuracy and cross-entropy of the supernet at θ = μ, z = softmax(φ) (its one-hot if `hard`).

    Batch norm takes the statistics of the batches, so these are cut evenly, at most `EVALUATION_BATCH` images each.

    Args:
        images: evaluate the first so many only (a split is in random order); None for all.
    """
    count = min(images or len(split), len(split))
    z = torch.softmax(q.alpha, dim=-1)
    if hard:
        z = torch.zeros_like(z).scatter(-1, z.argmax(dim=-1, keepdim=True), 1.0)
    size = -(-count // -(-count // EVALUATION_BATCH))
    right, loss = 0, 0.0
    chosen = replace(split, images=split.images[:count], labels=split.labels[:count])
    with torch.no_grad():
        for x, y in chosen.batches(size):
            y = y.to(q.mu.device)
            logits = supernet(x.to(q.mu), q.mu, z, hard)
            right += int((logits.argmax(dim=1) == y).sum())
            loss += torch.nn.functional.cross_entropy(logits, y, reduction="sum").item()
    return right / count, loss / count


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
        Interrupted: Ctrl-C; with a run the state is saved, and the same call continues it.
        InputError: a task that does not fit the posterior and the head policy.
    """
    return _Adapter(posterior, task, config or AdaptConfig(), run, name).run_to_end()


class _Adapter:
    def __init__(self, posterior: Posterior, task: Task, config: AdaptConfig, run: RunFolder | None, name: str) -> None:
        posterior = posterior.to(resolve(config.device))
        self.posterior, self.task, self.config, self.run, self.name = posterior, task, config, run, name
        whole = Supernet.for_posterior(posterior)
        self.supernet, self.prior = for_task(whole, Variables.of(posterior), config.inner.head, task.num_classes)
        self.loop = InnerLoop(self.supernet, self.prior, task.train, key(config.seed), config.inner)
        self.history: list[dict[str, float]] = []
        self.entropies: list[float] = []
        self.seconds_before = 0.0
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began

    def run_to_end(self) -> Adaptation:
        config, run = self.config, self.run
        monitors.warn_of_pull(config.inner, self.prior.rho, len(self.task.train))
        state = self._restore()
        if run is not None:
            run.truncate(self.name, state.step if self.history else -1)
        if state.step == 0 and not self.history:
            self._evaluate(state)
        stopped = self._spent(state)
        with interruptible() as interruption, progress(self.name, config.budget.steps, start=state.step) as bar:
            while stopped is None:
                state, terms, norm = self._step(state)
                self.entropies.append(mean_entropy(state.q.alpha).mean().item())
                stopped = self._spent(state)
                row = self._row(state, terms, norm)
                every = config.evaluate_every
                if stopped or (every and state.step % every == 0):
                    row |= self._evaluate(state)
                    row["probabilities"] = torch.softmax(state.q.alpha, dim=-1).tolist()
                if run is not None:
                    run.log(self.name, state.step, **row)
                bar.advance(1, loss=f"{row['loss']:.3f}", accuracy=f"{self.history[-1]['accuracy']:.3f}")
                stop = interruption.requested and stopped is None
                if stop or stopped or state.step % config.checkpoint_every == 0:
                    if not state.q.finite():
                        raise self._diverged("the last step made the posterior infinite")
                    if run is not None:
                        run.save_checkpoint(self.name, *self._pack(state))
                if stop:
                    raise Interrupted(f"{self.name}: stopped after {state.step} steps")
        event = {"event": "adapt", "task": self.task.name, "steps": state.step, "config": asdict(config)}
        adapted = replace(
            self.posterior,
            mu=self.prior.mu,
            rho=self.prior.rho,
            layout=self.supernet.layout,
            config=dict(self.posterior.config) | {"num_classes": self.task.num_classes},
        ).evolve(state.q, event)
        return Adaptation(adapted, self.history, state.step, self.seconds, stopped)

    def _step(self, state: InnerState) -> tuple[InnerState, Elbo, float]:
        tau, noise = self._scheduled(self.config.tau, state), self._scheduled(self.config.noise, state)
        loop = replace(self.loop, tau=tau, noise=noise, alpha_moves=state.step >= self.config.warmup)
        try:
            return loop.step(state)
        except Diverged as error:
            raise self._diverged(str(error)) from None

    def _diverged(self, what: str) -> Diverged:
        kept = self.run.load_checkpoint(self.name) if self.run is not None else None
        last = f"the last good checkpoint, after {kept[1]['step']} steps, is kept" if kept else "nothing was saved"
        return Diverged(f"{self.name}: {what}; {last}")

    def _scheduled(self, schedule: Schedule, state: InnerState) -> float:
        budget, warmup = self.config.budget, self.config.warmup
        if budget.steps is not None:
            return schedule((state.step - warmup) / max(budget.steps - warmup - 1, 1))
        return schedule(self.seconds / budget.seconds if budget.seconds is not None else 0.0)

    def _spent(self, state: InnerState) -> str | None:
        """The limit that is met, if any."""
        budget = self.config.budget
        if budget.steps is not None and state.step >= budget.steps:
            return "steps"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return "seconds"
        # Entropies during the warm-up do not move, and say nothing.
        recent = self.entropies[self.config.warmup :][-budget.entropy_window :]
        full = budget.entropy_tolerance is not None and len(recent) == budget.entropy_window
        if full and max(recent) - min(recent) < (budget.entropy_tolerance or 0.0):
            return "entropy"
        return None

    def _evaluate(self, state: InnerState) -> dict[str, float]:
        accuracy, loss = accuracy_and_loss(
            self.supernet, state.q, self.task.valid, hard=self.config.inner.hard, images=self.config.evaluate_images
        )
        self.history.append({"step": state.step, "accuracy": accuracy, "loss": loss, "seconds": round(self.seconds, 3)})
        if state.step == 0 and self.run is not None:
            self.run.log(self.name, 0, accuracy=accuracy, valid_loss=loss)
        return {"accuracy": accuracy, "valid_loss": loss}

    def _row(self, state: InnerState, terms: Elbo, norm: float) -> dict[str, Any]:
        return {
            "loss": terms.loss.item(),
            "nll": terms.nll.item(),
            "kl_theta": terms.kl_theta.item(),
            "kl_z": terms.kl_z.item(),
            "train_accuracy": terms.accuracy.item(),
            "gradient_norm": norm,
            **monitors.architecture(self.supernet.space, state.q.alpha),
            **monitors.movement(state.q, self.prior),
        }

    def _pack(self, state: InnerState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        header = {"step": state.step, "history": self.history, "entropies": self.entropies, "seconds": self.seconds}
        return pack(state.q, state.slots), header

    def _restore(self) -> InnerState:
        fresh = self.loop.start()
        found = self.run.load_checkpoint(self.name) if self.run is not None else None
        if found is None:
            return fresh
        tensors, header = found
        q, (mu, rho, alpha) = unpack(matching(self.name, tensors, self._pack(fresh)[0]), fresh.slots)
        self.history, self.entropies = header["history"], header["entropies"]
        self.seconds_before = header["seconds"]
        return InnerState(q, (mu, rho, alpha), header["step"])
