"""What a genotype is worth: named quantities, each with a direction and a unit, and what it cost to know them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from base_fast.engine import current
from base_fast.errors import InputError
from base_fast.random import fold_in
from base_fast.space import AnySpace


@dataclass(frozen=True)
class Quantity:
    """A number that a genotype has."""

    name: str
    """What it is called, uniquely within an objective."""
    better: Literal["larger", "smaller"]
    """Which way is better."""
    unit: str
    """"%" for accuracies, "ms", "nats", ...; empty for counts."""

    @property
    def sign(self) -> float:
        """1 if larger is better, −1 if smaller is: values times their sign are the larger the better."""
        return 1.0 if self.better == "larger" else -1.0


class Measurements(NamedTuple):
    """values: (n, Q) float64, in the order of the objective's quantities. costs: (n, K) float64, in that of its
    costs."""

    values: Tensor
    costs: Tensor


class Objective(ABC):
    """Measures genotypes of `space`.

    quantities: what is measured (Q).
    costs: the units in which it costs something (K), such as "training steps"; costs are exact counts, not times, so
        that a resumed search has the same bits.
    relative: whether values are comparable within one call of `measure` only.
    """

    space: AnySpace
    quantities: tuple[Quantity, ...]
    costs: tuple[str, ...]
    relative: bool = False

    @abstractmethod
    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        """Measure genotypes.

        Args:
            choices: (n, T, E) int64.
            key: of whatever is random about it.

        Raises:
            InputError: a genotype that this objective does not know.
        """

    def spent(self, costs: Tensor) -> dict[str, float]:
        """The sum of measurements' costs (n, K) by unit; several costs may have one unit."""
        return added(*({unit: count} for unit, count in zip(self.costs, costs.sum(dim=0).tolist(), strict=True)))


def added(*spent: Mapping[str, float]) -> dict[str, float]:
    """What several things cost together, by unit, in the order in which units first come."""
    together: dict[str, float] = {}
    for one in spent:
        for unit, count in one.items():
            together[unit] = together.get(unit, 0.0) + count
    return together


class Together(Objective):
    """Several objectives at once.

    Raises:
        InputError: none given, spaces differ, or two quantities have one name.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        if not objectives:
            raise InputError("objectives: got none, expected at least one")
        self.objectives = tuple(objectives)
        self.space = objectives[0].space
        for objective in objectives:
            if objective.space != self.space:
                raise InputError(
                    f"objectives: got spaces {self.space.name} and {objective.space.name}, expected one for all"
                )
        self.quantities = tuple(quantity for objective in objectives for quantity in objective.quantities)
        self.costs = tuple(cost for objective in objectives for cost in objective.costs)
        self.relative = any(objective.relative for objective in objectives)
        names = [quantity.name for quantity in self.quantities]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"objectives: got {names.count(name)} quantities called {name!r}, expected one")

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        found = [objective.measure(choices, fold_in(key, i)) for i, objective in enumerate(self.objectives)]
        return Measurements(torch.cat([m.values for m in found], dim=1), torch.cat([m.costs for m in found], dim=1))


def measured_apart(one: Callable[[int], tuple[list[float], list[float]]], count: int) -> Measurements:
    """The values and costs of `count` genotypes that are measured one by one: each on a process of its own, where there
    are as many genotypes as processes, or on all of them one after the other."""
    engine = current()
    found = engine.map(range(count), one) if count >= engine.world else [one(i) for i in range(count)]
    values, costs = ([own[part] for own in found] for part in (0, 1))
    return Measurements(
        torch.tensor(values, dtype=torch.float64, device="cpu"), torch.tensor(costs, dtype=torch.float64, device="cpu")
    )
