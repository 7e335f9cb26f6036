"""Gradient ascent on relaxed genotypes: where a value network sees the best ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import integer, positive, whole_numbers
from base_fast.errors import InputError
from base_fast.meta import StepRule
from base_fast.meta.rules import initial_slots, step
from base_fast.predictors.genotypes import discretized, fresh_logits, one_hot, relaxed
from base_fast.predictors.value_network import ValueNetwork
from base_fast.random import generator, key
from base_fast.tasks import TaskDescription

RULE = StepRule("adam")


@dataclass(frozen=True)
class AscentConfig:
    """Where the ascent starts, and how far it goes."""

    starts: int = 16
    """Relaxed genotypes that climb side by side."""
    steps: int = 100
    """Steps of Adam."""
    lr: float = 0.1
    """Its learning rate, on logits of the choices."""
    spread: float = 1.0
    """Standard deviation of the logits at the start."""
    entropy: float = 0.1
    """Bonus of a nat of entropy at the start, in standard deviations of the value; it falls to 0 linearly."""
    sharp: float = 0.05
    """What logits are divided by at the end, falling from 1 exponentially, so that the end is near a genotype."""
    temperature: float = 0.1
    """What is found has probabilities proportional to exp(value / temperature), in standard deviations."""
    seed: int = 0
    """Decides on the starts."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("starts", "steps"):
            integer(name, getattr(self, name), 1)
        for name in ("lr", "spread", "sharp", "temperature"):
            positive(name, getattr(self, name))
        if not 0.0 <= self.entropy < float("inf"):
            raise InputError(f"entropy: got {self.entropy!r}, expected a finite number ≥ 0")


class Climbed(NamedTuple):
    """choices (n, T, E): the different genotypes that were found, the best first, and their values (n,).

    relaxed (S,), discrete (S,): values of every start's last relaxed point, and of its genotype. trace (steps, 2): mean
    relaxed value and mean entropy (nats) at each step.
    """

    choices: Tensor
    values: Tensor
    relaxed: Tensor
    discrete: Tensor
    trace: Tensor


def climb(network: ValueNetwork, task: TaskDescription, config: AscentConfig | None = None) -> Climbed:
    """Climb the value of relaxed genotypes on a task; every start ends in a genotype, and these are ranked again.

    The choices that belong together (`space.configurations`) are a softmax of logits each, so that every relaxed point
    is a mean of genotypes. A pure function of its arguments.
    """
    config = config or AscentConfig()
    space, seen = network.space, network.see(task)
    logits = fresh_logits(space, config.starts, config.spread, generator(key(config.seed)))
    sizes = [x.shape[2] for x in logits]
    x = torch.cat(logits, dim=2)
    slots = initial_slots(RULE, x)
    trace = []
    for number in range(config.steps):
        x = x.detach().requires_grad_(True)
        z, entropy = relaxed(space, list((x / config.sharp ** (number / config.steps)).split(sizes, dim=2)))
        value = network.relaxed_value(z, seen)
        bonus = config.entropy * (1.0 - (number + 1) / config.steps)
        (gradient,) = torch.autograd.grad((value + bonus * entropy).sum(), x)
        trace.append(torch.stack((value.detach().mean(), entropy.detach().mean())))
        x, slots = step(RULE, config.lr, x.detach(), -gradient, slots)
    with torch.no_grad():
        last = list((x / config.sharp).split(sizes, dim=2))
        ends = network.relaxed_value(relaxed(space, last)[0], seen)
        found = discretized(space, last)
        discrete = network.relaxed_value(one_hot(space, found), seen)
        choices = torch.unique(found, dim=0)
        values = network.relaxed_value(one_hot(space, choices), seen)
    order = torch.argsort(values, descending=True, stable=True)
    return Climbed(choices[order], values[order], ends, discrete, torch.stack(trace))
