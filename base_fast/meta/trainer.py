"""Meta-training: Algorithm 1, resumable to the same bits."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from base_fast.device import resolve
from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.meta import monitors
from base_fast.meta.checkpoint import matching, pack, unpack
from base_fast.meta.config import MetaConfig
from base_fast.meta.inner import InnerLoop
from base_fast.meta.outer import OuterState, TaskGradient, task_gradient
from base_fast.meta.variables import Variables, for_task
from base_fast.posterior import Posterior
from base_fast.random import fold_in, key
from base_fast.runs import RunFolder, interruptible, progress
from base_fast.supernet import Supernet
from base_fast.supernet.stems import choose_stem
from base_fast.tasks import Task, TaskDistribution


class MetaTrainer:
    """Learns a prior over weights and architectures from many tasks.

    Args:
        config: everything that the result depends on, besides the tasks.
        supernet: to use instead of the one that `config.supernet` describes (for a space of your own).
    """

    def __init__(self, config: MetaConfig, supernet: Supernet | None = None) -> None:
        self.config = config
        self.supernet = supernet or Supernet.from_config(config.supernet)
        self._key = key(config.seed)

    def initial(self) -> Posterior:
        """The prior before any meta-training: also where a search from scratch starts."""
        return self.supernet.prior(fold_in(self._key, 0), self.config.mu_scale, self.config.sigma_scale)

    def fit(
        self,
        tasks: TaskDistribution,
        *,
        run: RunFolder | None = None,
        start: Posterior | None = None,
        name: str = "meta",
    ) -> Posterior:
        """Run all meta-iterations, or those that a checkpoint in `run` still leaves, and return the prior.

        Args:
            tasks: what to draw tasks from.
            run: where to log and keep checkpoints.
            start: a prior to continue from instead of a fresh one.
            name: of the phase in the run's metrics and of its checkpoint.

        Raises:
            Diverged: a loss became NaN or infinite; the last checkpoint is kept.
            Interrupted: Ctrl-C; with a run the state is saved, and the same call continues it.
            InputError: tasks or `start` that do not fit the configuration.
        """
        initial = (start or self.initial()).to(resolve(self.config.device))
        difference = self.supernet.layout.difference(initial.layout)
        if difference or initial.space != self.supernet.space:
            raise InputError(f"start: the posterior does not fit the supernet: {difference or 'another space'}")
        self._check_tasks(tasks)
        if self.config.warmup >= self.config.iterations and self.config.inner.alpha.lr > 0.0:
            warnings.warn(
                f"the edge logits never move: warmup is {self.config.warmup} of {self.config.iterations} iterations",
                stacklevel=2,
            )
        state = self._restore(initial, run, name)
        if run is not None:
            run.truncate(name, state.step - 1)
        total = self.config.iterations
        with interruptible() as interruption, progress(name, total, start=state.step) as bar:
            while state.step < total:
                before = state
                try:
                    state, row = self._iterate(before, Variables.of(initial), tasks)
                except Diverged as error:
                    raise Diverged(f"{name}: meta-iteration {before.step}: {error}; {_kept(run, name)}") from None
                if run is not None:
                    if before.step % self.config.record_every == 0 or state.step == total:
                        row["probabilities"] = torch.softmax(state.prior.alpha, dim=-1).tolist()
                    run.log(name, before.step, **row)
                bar.advance(1, loss=f"{row['loss_first']:.3f}→{row['loss_last']:.3f}")
                stop = interruption.requested and state.step < total
                if run is not None and (stop or state.step == total or state.step % self.config.checkpoint_every == 0):
                    run.save_checkpoint(name, *_pack(state))
                if stop:
                    raise Interrupted(f"{name}: stopped after {state.step} of {total} meta-iterations")
        event = {"event": "meta-train", "iterations": total, "seed": self.config.seed, "config": asdict(self.config)}
        if state.log_step_sizes is not None:
            event["step_sizes"] = state.log_step_sizes.exp().tolist()
        return initial.evolve(state.prior, event)

    def _check_tasks(self, tasks: TaskDistribution) -> None:
        """Refuse now what some task would refuse after hours."""
        # Any object that samples tasks will do; only a TaskDistribution says what they can be.
        low, high = getattr(tasks, "ways", (None, None))
        outputs = self.supernet.config.num_classes
        if low is not None and self.config.inner.head != "own" and {low, high} != {outputs}:
            raise InputError(
                f"ways: got tasks of {low} to {high} classes for a head of {outputs} outputs; set inner.head to 'own'"
            )
        for resolution in getattr(tasks, "resolutions", ()):
            choose_stem(self.supernet.config.stems, resolution)

    def last_good(self, run: RunFolder, name: str = "meta") -> Posterior | None:
        """The prior of the last checkpoint in `run`; None if there is none."""
        found = run.load_checkpoint(name)
        if found is None:
            return None
        event = {"event": "meta-train", "iterations": found[1]["step"], "config": asdict(self.config)}
        return self.initial().evolve([found[0][field] for field in Variables._fields], event)

    def _iterate(
        self, state: OuterState, initial: Variables, tasks: TaskDistribution
    ) -> tuple[OuterState, dict[str, Any]]:
        config, e = self.config, state.step
        past = (e - config.warmup) / max(config.iterations - config.warmup - 1, 1)
        tau, noise = config.tau(past), config.noise(past)
        step_key = fold_in(fold_in(self._key, 1), e)
        gradients: list[TaskGradient] = []
        logs_of_classes: list[float] = []
        pull = 0.0
        for c in range(config.tasks):
            task_key = fold_in(step_key, c)
            task = tasks.sample(fold_in(task_key, 0))
            gradient = self._adapt_to(task, fold_in(task_key, 1), state, tau, noise)
            gradients.append(gradient)
            pull = max(pull, monitors.kl_pull(config.inner, state.prior.rho, len(task.train)))
            logs_of_classes.append(math.log(task.num_classes))
            if e == 0 and c == 0:
                monitors.warn_of_pull(config.inner, state.prior.rho, len(task.train))
        after = state.after(gradients, config.outer)
        logs = after.log_step_sizes
        if not after.prior.finite() or (logs is not None and not logs.isfinite().all()):
            raise Diverged("the outer step made the prior infinite; a smaller outer.lr may help")
        row: dict[str, Any] = {
            "loss_first": fmean(g.first.nll.item() for g in gradients),
            "loss_last": fmean(g.last.nll.item() for g in gradients),
            "ln_classes": fmean(logs_of_classes),
            "accuracy_last": fmean(g.last.accuracy.item() for g in gradients),
            "gradient_norm": fmean(g.gradient_norm for g in gradients),
            "tau": tau,
            "noise": noise,
            "kl_pull": pull,
            **monitors.architecture(self.supernet.space, after.prior.alpha),
            **monitors.movement(after.prior, initial),
        }
        if logs is not None:
            row["step_sizes"] = dict(zip(Variables._fields, logs.exp().mean(dim=0).tolist(), strict=True))
        return after, row

    def _adapt_to(self, task: Task, task_key: Tensor, state: OuterState, tau: float, noise: float) -> TaskGradient:
        config = self.config
        unrolled = config.outer.rule == "unrolled"
        prior = state.prior.leaves() if unrolled else state.prior
        logs = state.log_step_sizes
        if logs is not None:
            logs = logs.detach().requires_grad_()
        supernet, start = for_task(self.supernet, prior, config.inner.head, task.num_classes)
        loop = InnerLoop(
            supernet,
            start,
            task.train,
            task_key,
            config.inner,
            tau=tau,
            noise=noise,
            alpha_moves=state.step >= config.warmup,
            step_sizes=None if logs is None else logs.exp(),
            differentiable=unrolled,
        )
        return task_gradient(config.outer.rule, loop, prior, config.inner_steps, logs)

    def _restore(self, initial: Posterior, run: RunFolder | None, name: str) -> OuterState:
        inner = self.config.inner
        fresh = OuterState.start(
            Variables.of(initial), self.config.outer, (inner.mu, inner.rho, inner.alpha), self.config.inner_steps
        )
        found = run.load_checkpoint(name) if run is not None else None
        if found is None:
            return fresh
        return _unpack(fresh, matching(name, found[0], _pack(fresh)[0]), found[1])


def _kept(run: RunFolder | None, name: str) -> str:
    found = run.load_checkpoint(name) if run is not None else None
    if found is None:
        return "no checkpoint was written yet"
    return f"the last good checkpoint, after {found[1]['step']} meta-iterations, is kept"


def _pack(state: OuterState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = pack(state.prior, state.slots)
    if state.log_step_sizes is not None:
        tensors["log_step_sizes"] = state.log_step_sizes
        tensors |= {f"step_size_slots.{j}": x for j, x in enumerate(state.step_size_slots)}
    return tensors, {"step": state.step}


def _unpack(fresh: OuterState, tensors: dict[str, Tensor], header: dict[str, Any]) -> OuterState:
    """A checkpoint in the shape of `fresh`."""
    return OuterState(
        *unpack(tensors, fresh.slots),
        None if fresh.log_step_sizes is None else tensors["log_step_sizes"],
        tuple(tensors[f"step_size_slots.{j}"] for j in range(len(fresh.step_size_slots))),
        header["step"],
    )
