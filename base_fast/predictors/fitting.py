"""Fitting a value network to a database, as a resumable process."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import Diverged, InputError
from base_fast.meta import StepRule
from base_fast.meta.rules import Slots, initial_slots, step
from base_fast.objectives import normal_scores
from base_fast.predictors.database import Database
from base_fast.predictors.ensemble import initialized
from base_fast.predictors.genotypes import one_hot
from base_fast.predictors.tasks import feature_scale, task_sets
from base_fast.predictors.value_network import (
    ValueConfig,
    ValueNetwork,
    forward,
    shapes_of,
    standardized,
    task_vectors,
)
from base_fast.random import fold_in, generator, key
from base_fast.runs import Clock, RunFolder, Step, matching, run_loop

RULE = StepRule("adam")
LOG_EVERY = 50


class FitState(NamedTuple):
    """weights (K, P), Adam's slots, steps done."""

    weights: Tensor
    slots: Slots
    step: int


class Fitting:
    """A fit as a process for `run_loop`.

    Raises:
        InputError: a task has fewer than two different values.
    """

    def __init__(self, database: Database, config: ValueConfig) -> None:
        self.database, self.config = database, config
        self.rows = [database.rows(task) for task in range(len(database.tasks))]
        for task, rows in zip(database.tasks, self.rows, strict=True):
            if len(database.values[rows].unique()) < 2:
                raise InputError(
                    f"database: task {task.name} has {len(rows)} rows of one value, expected different ones"
                )
        self.shapes = shapes_of(database.space, config)
        self.mean, self.std = feature_scale(database.tasks)
        self.sets = task_sets(database.tasks, self.mean, self.std)
        self.targets = standardized(database.worth, self.rows).float()
        counts = torch.ones_like(self.targets)
        for rows in self.rows:
            counts[rows] = torch.exp(config.focus * normal_scores(database.worth[rows])).float()
        self.counts = counts
        self.z = one_hot(database.space, database.choices)
        self.key = key(config.seed)

    def start(self, clock: Clock) -> Step[FitState]:
        weights = initialized(self.shapes, self.config.members, fold_in(self.key, 0))
        return Step(FitState(weights, initial_slots(RULE, weights), 0))

    def step(self, state: FitState, clock: Clock) -> Step[FitState]:
        config = self.config
        weights = state.weights.detach().requires_grad_(True)
        loss = self._loss(weights, generator(fold_in(self.key, 1 + state.step)))
        if not math.isfinite(loss.item()):
            raise Diverged(f"loss is {loss.item()}; a smaller learning rate than {config.lr:g} may help")
        # Members share nothing: the sum of their losses has each one's gradient.
        (gradient,) = torch.autograd.grad(loss * config.members, weights)
        lr = config.lr * (1.0 + math.cos(math.pi * state.step / config.steps)) / 2.0
        moved, slots = step(RULE, lr, weights.detach() * (1.0 - lr * config.weight_decay), gradient, state.slots)
        done = state.step + 1
        row = {"loss": loss.item(), "lr": lr} if done % LOG_EVERY == 0 or clock.limit() else None
        return Step(FitState(moved, slots, done), row, shown={"loss": loss.item()})

    def _loss(self, weights: Tensor, draws: torch.Generator) -> Tensor:
        """Mean over the members of the loss of a batch."""
        config, space = self.config, self.database.space
        tasks = torch.randperm(len(self.rows), generator=draws, device="cpu")[: config.tasks]
        each = max(config.batch // len(tasks), 2)
        u = torch.rand(len(tasks), each, generator=draws, device="cpu")
        rows = torch.stack([self.rows[t][(v * len(self.rows[t])).long()] for t, v in zip(tasks, u, strict=True)])
        z = self._mixed(self.z[rows.flatten()], draws)
        chosen = type(self.sets)(
            self.sets.features[tasks],
            tuple(self.sets.pixels[t] for t in tasks),
            tuple(self.sets.labels[t] for t in tasks),
        )
        begins = torch.rand(len(tasks), generator=draws, device="cpu")
        task = task_vectors(weights, space, config, chosen, config.images, begins)
        seen = None if task is None else task.repeat_interleave(each, dim=1)
        values = forward(weights, space, config, z, seen, draws).unflatten(1, (len(tasks), each))
        targets, counts = self.targets[rows], self.counts[rows]
        if config.loss == "squared":
            return ((values - targets).square() * counts).mean() / counts.mean()
        better = (targets.unsqueeze(2) > targets.unsqueeze(1)) * counts.unsqueeze(2)
        gaps = values.unsqueeze(3) - values.unsqueeze(2)
        return (F.softplus(-gaps) * better).sum(dim=(1, 2, 3)).mean() / better.sum().clamp_min(1.0)

    def _mixed(self, z: Tensor, draws: torch.Generator) -> Tensor:
        """Genotypes with up to a share of `noise` of another one."""
        if self.config.noise == 0.0:
            return z
        share = self.config.noise * torch.rand(len(z), 1, 1, 1, generator=draws, device="cpu")
        other = z[torch.randperm(len(z), generator=draws, device="cpu")]
        return (1.0 - share) * z + share * other

    def network(self, state: FitState) -> ValueNetwork:
        """The network of a state, with values in standard deviations within a task."""
        database, config = self.database, self.config
        raw = ValueNetwork(
            database.space,
            config,
            state.weights.detach(),
            self.mean,
            self.std,
            0.0,
            1.0,
            tuple(task.name for task in database.tasks),
        )
        found = [raw.value(database.choices[rows], task) for rows, task in zip(self.rows, database.tasks, strict=True)]
        shift = torch.stack([values.mean() for values in found]).mean().item()
        scale = torch.stack([values.std(correction=0) for values in found]).mean().item()
        return ValueNetwork(
            raw.space, config, raw.weights, raw.mean, raw.std, shift, scale if scale > 0 else 1.0, raw.fitted
        )

    def pack(self, state: FitState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        slots = {f"slots.{i}": x for i, x in enumerate(state.slots)}
        return {"weights": state.weights, **slots}, {"step": state.step}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> FitState:
        found = matching(tensors, self.pack(self.start(Clock()).state)[0])
        slots = tuple(found[f"slots.{i}"] for i in range(len(found) - 1))
        return FitState(found["weights"], slots, int(header["step"]))


def fit(database: Database, config: ValueConfig | None = None, run: RunFolder | None = None) -> ValueNetwork:
    """Fit a value network.

    Args:
        run: where to log (phase "fit") and keep checkpoints; called again with it, the fit goes on, to the same bits.

    Raises:
        InputError: a task has fewer than two different values.
        Interrupted: SIGINT or SIGTERM.
        Diverged: the loss is NaN or infinite.
    """
    config = config or ValueConfig()
    process = Fitting(database, config)
    return process.network(run_loop(process, name="fit", total=config.steps, run=run, checkpoint_every=200).state)
