"""Meta-training: Algorithm 1, resumable to the same bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from base_fast.device import resolve
from base_fast.engine import METER, current, metered
from base_fast.errors import Diverged, InputError
from base_fast.meta import monitors
from base_fast.meta.checkpoint import pack, unpack
from base_fast.meta.config import MetaConfig
from base_fast.meta.inner import InnerLoop
from base_fast.meta.outer import Agreement, OuterState, TaskGradient, TaskRecord, task_gradient
from base_fast.meta.rules import Slots
from base_fast.meta.variables import GROUPS, Group, Variables, for_task
from base_fast.posterior import Posterior
from base_fast.random import fold_in, key
from base_fast.runs import Clock, RunFolder, Step, matching, run_loop
from base_fast.supernet import Supernet
from base_fast.supernet.stems import choose_stem
from base_fast.tasks import Task, TaskDistribution

# Where a checkpoint keeps the learned step sizes.
LOG_STEP_SIZES = "log_step_sizes."


class MetaTrainer:
    """Learns a prior over weights and architectures from many tasks.

    Args:
        config: everything that the result depends on, besides the tasks.
        supernet: to use instead of the one that `config.supernet` describes (for a space of your own).
    """

    def __init__(self, config: MetaConfig, supernet: Supernet | None = None) -> None:
        self.config = config
        self.supernet = (supernet or Supernet.from_config(config.supernet)).computing_in(config.precision)
        self.key = key(config.seed)

    def initial(self) -> Posterior:
        """The prior before any meta-training: also where a search from scratch starts."""
        return self.supernet.prior(fold_in(self.key, 0), self.config.mu_scale, self.config.sigma_scale)

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
            Interrupted: SIGINT or SIGTERM; with a run the state is saved, and the same call continues it.
            InputError: tasks or `start` that do not fit the configuration.
        """
        initial = (start or self.initial()).to(resolve(self.config.device))
        difference = self.supernet.layout.difference(initial.layout)
        if difference or initial.space != self.supernet.space:
            raise InputError(f"start: the posterior does not fit the supernet: {difference or 'another space'}")
        self._check_tasks(tasks)
        monitors.warn_of_warmup(self.config.inner, self.config.warmup, self.config.iterations, "iterations")
        process = _MetaTraining(self, Variables.of(initial), tasks)
        total = self.config.iterations
        state = run_loop(
            process,
            name=name,
            unit="meta-iteration",
            total=total,
            run=run,
            checkpoint_every=self.config.checkpoint_every,
        ).state
        event = {"event": "meta-train", "iterations": total, "seed": self.config.seed, "config": asdict(self.config)}
        if state.agreement.usual is not None:
            event["agreement"] = state.agreement.usual
        if state.log_step_sizes is not None:
            event["step_sizes"] = {group: x.exp().tolist() for group, x in state.log_step_sizes.named().items()}
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
        tensors, header = found
        event = {"event": "meta-train", "iterations": header["steps"], "config": asdict(self.config)}
        return self.initial().evolve([tensors[group] for group in GROUPS], event)


class _Learned(NamedTuple):
    """A task's record, its training images and classes."""

    record: TaskRecord
    examples: int
    num_classes: int


@dataclass(frozen=True)
class _MetaTraining:
    """Meta-iterations, as a process for `run_loop`."""

    trainer: MetaTrainer
    initial: Variables
    tasks: TaskDistribution

    @property
    def config(self) -> MetaConfig:
        return self.trainer.config

    def start(self, clock: Clock) -> Step[OuterState]:
        return Step(self._fresh())

    def _fresh(self) -> OuterState:
        config = self.config
        return OuterState.start(self.initial, config.outer, config.inner.rules, config.inner_steps)

    def step(self, state: OuterState, clock: Clock) -> Step[OuterState]:
        config, e = self.config, state.step
        past = (e - config.warmup) / max(config.iterations - config.warmup - 1, 1)
        tau, noise = config.tau(past), config.noise(past)
        step_scale = config.step_size(e / max(config.iterations - 1, 1))
        step_key = fold_in(fold_in(self.trainer.key, 1), e)
        keys = [fold_in(step_key, c) for c in range(config.tasks)]

        def work(task_key: Tensor) -> tuple[Tensor, _Learned]:
            with metered("data"):
                task = self.tasks.sample(fold_in(task_key, 0))
            found = self._adapt_to(task, fold_in(task_key, 1), state, step_scale, tau, noise)
            return found.flat(), _Learned(found.record, len(task.train), task.num_classes)

        # Any object that samples tasks will do; a TaskDistribution knows what they cost.
        cost = getattr(self.tasks, "cost", None)
        costs = None if cost is None else [cost(fold_in(task_key, 0)) for task_key in keys]
        mean, learned = current().mesh(config.ranks_per_task).mean(keys, work, costs)
        if e == 0:
            monitors.warn_of_pull(config.inner, state.prior.rho, learned[0].examples)
        pull = max(monitors.kl_pull(config.inner, state.prior.rho, own.examples) for own in learned)
        records = [own.record for own in learned]
        after = state.after(mean, records, config.outer)
        logs = after.log_step_sizes
        if not after.prior.finite() or (logs is not None and not logs.finite()):
            raise Diverged("the outer step made the prior infinite; a smaller outer.lr may help")
        row: dict[str, Any] = {
            "loss_first": fmean(g.first.nll.item() for g in records),
            "loss_last": fmean(g.last.nll.item() for g in records),
            "ln_classes": fmean(math.log(own.num_classes) for own in learned),
            "accuracy_last": fmean(g.last.accuracy.item() for g in records),
            "gradient_norm": fmean(g.gradient_norm for g in records),
            "tau": tau,
            "noise": noise,
            "kl_pull": pull,
            **monitors.architecture(self.trainer.supernet.space, after.prior.alpha),
            **monitors.movement(after.prior, self.initial),
            **monitors.draws([g.drawn for g in records if g.drawn is not None]),
        }
        if logs is not None:
            row["step_sizes"] = {group: x.exp().mean().item() for group, x in logs.named().items()}
        if e % config.record_every == 0 or clock.limit():
            row["probabilities"] = torch.softmax(after.prior.alpha, dim=-1).tolist()
        row["times"] = METER.since()
        return Step(after, row, number=e, shown={"loss": f"{row['loss_first']:.3f}→{row['loss_last']:.3f}"})

    def _adapt_to(
        self, task: Task, task_key: Tensor, state: OuterState, step_scale: float, tau: float, noise: float
    ) -> TaskGradient:
        config = self.config
        unrolled = config.outer.rule == "unrolled"
        prior = state.prior.leaves() if unrolled else state.prior
        logs = None if state.log_step_sizes is None else state.log_step_sizes.leaves()
        supernet, start = for_task(self.trainer.supernet, prior, config.inner.head, task.num_classes)
        loop = InnerLoop(
            supernet,
            start,
            task,
            task_key,
            config.inner,
            step_scale=step_scale,
            tau=tau,
            noise=noise,
            alpha_moves=state.step >= config.warmup,
            step_sizes=None if logs is None else Variables(*(x.exp() for x in logs)),
            differentiable=unrolled,
        )
        return task_gradient(config.outer.rule, loop, prior, config.inner_steps, logs)

    def pack(self, state: OuterState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = pack(state.prior, state.slots)
        if state.log_step_sizes is not None:
            tensors |= pack(state.log_step_sizes, state.step_size_slots, LOG_STEP_SIZES)
        return tensors, {"step": state.step, "agreement": list(state.agreement)}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> OuterState:
        fresh = self._fresh()
        tensors = matching(tensors, self.pack(fresh)[0])
        logs: tuple[Variables | None, Mapping[Group, Slots]] = None, {}
        if fresh.log_step_sizes is not None:
            logs = unpack(tensors, fresh.step_size_slots, LOG_STEP_SIZES)
        total, count = header["agreement"]
        return OuterState(*unpack(tensors, fresh.slots), *logs, header["step"], Agreement(float(total), int(count)))
