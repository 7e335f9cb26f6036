"""Several measures of a genotype as one: a weighted sum of their normal scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.objectives.objective import Measurements, Objective, Quantity
from base_fast.objectives.ranks import normal_scores
from base_fast.random import fold_in


@dataclass(frozen=True)
class Part:
    """One quantity of an objective, as a part of the evidence."""

    objective: Objective
    """What measures it. Parts of one objective are measured together."""
    quantity: str
    """Which of its quantities."""
    weight: float = 1.0
    """What a standard deviation of it counts; larger is better always, whichever way the quantity goes."""
    name: str = ""
    """What its raw values are called; as the quantity, if empty."""

    def __post_init__(self) -> None:
        names = [quantity.name for quantity in self.objective.quantities]
        if self.quantity not in names:
            raise InputError(f"quantity: got {self.quantity!r}, expected one of {', '.join(names)}")
        if not math.isfinite(self.weight):
            raise InputError(f"weight: got {self.weight} for {self.quantity}, expected a finite number")

    @property
    def column(self) -> int:
        """Its column among the objective's values."""
        return [quantity.name for quantity in self.objective.quantities].index(self.quantity)

    @property
    def measured(self) -> Quantity:
        """What is measured, under the part's name."""
        quantity = self.objective.quantities[self.column]
        return replace(quantity, name=self.name or quantity.name)


class Evidence(Objective):
    """Σ weight · score of the parts, where a score is the part's normal score among the genotypes of one call.

    `evidence` (larger is better; in standard deviations of a part of weight 1) is comparable **within one call of
    `measure` only**: it says how a genotype stands among the n that were drawn with it, and is 0 where n = 1. The
    parts' raw values follow under their names.

    Args:
        parts: at least one. An objective that several of them name, the same instance, is measured once.

    Raises:
        InputError: no parts, spaces differ, or two quantities have one name; of `measure`, a part is NaN.
    """

    relative = True

    def __init__(self, parts: Sequence[Part]) -> None:
        if not parts:
            raise InputError("parts: got none, expected at least one")
        self.parts = tuple(parts)
        self.objectives = tuple(dict.fromkeys(part.objective for part in parts))
        self.space = self.objectives[0].space
        for objective in self.objectives:
            if objective.space != self.space:
                raise InputError(f"parts: got spaces {self.space.name} and {objective.space.name}, expected one")
        self.quantities = (Quantity("evidence", "larger", "sd"), *(part.measured for part in parts))
        self.costs = tuple(cost for objective in self.objectives for cost in objective.costs)
        names = [quantity.name for quantity in self.quantities]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"parts: got {names.count(name)} quantities called {name!r}, expected one")

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        found = [objective.measure(choices, fold_in(key, i)) for i, objective in enumerate(self.objectives)]
        values = [found[self.objectives.index(part.objective)].values[:, part.column] for part in self.parts]
        raw = torch.stack(values, dim=1)
        evidence = self.combined(raw).unsqueeze(1)
        return Measurements(torch.cat((evidence, raw), dim=1), torch.cat([m.costs for m in found], dim=1))

    def combined(self, raw: Tensor) -> Tensor:
        """The evidence (n,) of n genotypes whose parts were measured before: raw (n, parts), float64."""
        evidence = torch.zeros(len(raw), dtype=torch.float64, device="cpu")
        for part, column in zip(self.parts, raw.unbind(dim=1), strict=True):
            evidence += part.weight * normal_scores(part.measured.sign * column)
        return evidence
