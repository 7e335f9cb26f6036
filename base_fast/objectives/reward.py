"""Several quantities of a genotype as one reward, which any search that optimizes a single goal can take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from base_fast.arguments import positive
from base_fast.errors import InputError
from base_fast.objectives.objective import Measurements, Objective, Quantity


@dataclass(frozen=True)
class Term:
    """What a quantity adds to the reward: weight · u, with u = 0 where it is `worst` and 1 where it is `best`.

    The two are fixed, and no batch or population moves them: otherwise the best genotype would depend on what else
    was drawn.
    """

    quantity: str = "accuracy"
    """Which quantity."""
    weight: float = 1.0
    """What a quantity at its best adds to the reward."""
    worst: float = 0.0
    """Value that adds nothing."""
    best: float = 100.0
    """Value that adds the weight; on the side of `worst` on which the quantity is better."""

    def __post_init__(self) -> None:
        positive("weight", self.weight)
        for name in ("worst", "best"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name}: got {getattr(self, name)}, expected a finite number")

    def share(self, values: Tensor) -> Tensor:
        """u of values (n,)."""
        return (values - self.worst) / (self.best - self.worst)


@dataclass(frozen=True)
class Limit:
    """What a quantity should not be worse than, and what it does to the reward R if it is.

    With x = value / bound (bound / value where larger is better), the share in which the bound is used up:

        hard        R where x ≤ 1, else 0: MONAS's constraint
        slope       R where x ≤ 1, else −strength · (x − 1): as hard, and the way back can be learned where all first
                    genotypes are outside
        absolute    R − strength · |x − 1|: TuNAS's, which pulls to the bound from both sides
        power       R · x^(−strength): MnasNet's, which is a limit in name only
    """

    quantity: str = "latency"
    """Which quantity."""
    bound: float = 1.0
    """The value that it should not be worse than, above 0."""
    form: Literal["hard", "slope", "absolute", "power"] = "hard"
    """What a quantity beyond the bound does: hard: the reward is 0. slope: a penalty instead. absolute: a penalty on
    both sides (TuNAS). power: a factor on both sides (MnasNet)."""
    strength: float = 0.07
    """Of every form but hard."""

    def __post_init__(self) -> None:
        positive("bound", self.bound)
        positive("strength", self.strength)


@dataclass(frozen=True)
class RewardConfig:
    """A reward: a weighted sum of quantities, then what the limits make of it, one after another."""

    terms: tuple[Term, ...] = (Term(),)
    """Quantities whose weighted shares are added."""
    limits: tuple[Limit, ...] = ()
    """What quantities should not be worse than."""

    def __post_init__(self) -> None:
        if not self.terms:
            raise InputError("terms: got none, expected at least one")


class Rewarded(Objective):
    """`reward`, larger is better, first; the quantities of another objective follow.

    R = Σ_terms weight · u, at least 0 where a limit is `hard` or `slope`, so that nothing inside is worse than outside;
    each limit then changes it as `Limit` says. Of one term and no limit it is that quantity; of accuracy with weight α
    and cost with 1 − α MONAS's mixed reward; of one term and a hard limit on another quantity its constrained ones.

    Raises:
        InputError: a quantity that the objective does not measure or that is limited or added twice, a `best` on the
            wrong side of `worst`, or an objective that has a reward already.

    Source: Hsu et al., "MONAS: Multi-Objective Neural Architecture Search using Reinforcement Learning", arXiv
    1806.10332, 2018; absolute: Bender et al., "Can Weight Sharing Outperform Random Architecture Search?", CVPR 2020;
    power: Tan et al., "MnasNet", CVPR 2019.
    """

    def __init__(self, objective: Objective, config: RewardConfig) -> None:
        self.objective, self.config = objective, config
        self.space, self.costs, self.relative = objective.space, objective.costs, objective.relative
        reward = Quantity("reward", "larger", "")
        self.quantities = (reward, *objective.quantities)
        self._names = [quantity.name for quantity in objective.quantities]
        self._signs = [quantity.sign for quantity in objective.quantities]
        if reward.name in self._names:
            raise InputError("reward: got an objective with a quantity of that name, expected another name")
        self._check([term.quantity for term in config.terms], "terms")
        self._check([limit.quantity for limit in config.limits], "limits")
        for term in config.terms:
            sign = self._signs[self._names.index(term.quantity)]
            if not sign * (term.best - term.worst) > 0.0:
                way = "above" if sign > 0.0 else "below"
                raise InputError(
                    f"terms: got worst = {term.worst:g} and best = {term.best:g} for {term.quantity}, expected best "
                    f"{way} worst, as the quantity has it"
                )

    def _check(self, names: Sequence[str], where: str) -> None:
        for name in names:
            if name not in self._names:
                raise InputError(f"{where}: got quantity {name!r}, expected one of {', '.join(self._names)}")
            if names.count(name) > 1:
                raise InputError(f"{where}: got quantity {name!r} {names.count(name)} times, expected it once")

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        found = self.objective.measure(choices, key)
        return Measurements(torch.cat((self.reward(found.values).unsqueeze(1), found.values), dim=1), found.costs)

    def reward(self, values: Tensor) -> Tensor:
        """(n, Q) of the objective's quantities → (n,) float64."""
        total = torch.zeros(len(values), dtype=torch.float64, device="cpu")
        for term in self.config.terms:
            total += term.weight * term.share(self._column(values, term.quantity))
        if any(limit.form in ("hard", "slope") for limit in self.config.limits):
            total = total.clamp_min(0.0)
        for limit in self.config.limits:
            total = _limited(total, limit, self.used(limit, values))
        return total

    def used(self, limit: Limit, values: Tensor) -> Tensor:
        """x (n,): the share in which a limit's bound is used up; above 1 is beyond it."""
        column = self._column(values, limit.quantity)
        if self._signs[self._names.index(limit.quantity)] < 0.0:
            return column / limit.bound
        # What should be large and is 0 or less is beyond any bound.
        return limit.bound / column.clamp_min(torch.finfo(torch.float64).tiny)

    def _column(self, values: Tensor, name: str) -> Tensor:
        return values[:, self._names.index(name)]


def _limited(reward: Tensor, limit: Limit, used: Tensor) -> Tensor:
    """Rewards (n,) with a limit of which the shares (n,) are used up."""
    if limit.form == "hard":
        return torch.where(used <= 1.0, reward, 0.0)
    if limit.form == "slope":
        return torch.where(used <= 1.0, reward, -limit.strength * (used - 1.0))
    if limit.form == "absolute":
        return reward - limit.strength * (used - 1.0).abs()
    # A factor would reward what uses nothing without end; and what is 0 ms was not measured.
    return reward * used.clamp_min(1e-3) ** -limit.strength
