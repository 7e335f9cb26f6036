"""Where a cell stands among random ones of like cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.experiments.intervals import mean_interval
from base_fast.objectives import Table


@dataclass(frozen=True)
class Placement:
    """A cell among its neighbours, the cells of like multiply-adds."""

    percentile: float
    """Share of neighbours that are worse, in per cent; a tie counts half."""
    low: float
    """Lower end of its 95 % interval, by bootstrap over the neighbours; where all or none are worse, it is a point."""
    high: float
    """Upper end."""
    neighbours: int
    """How many there are."""


def place(
    table: Table, accuracy: float, macs: float, tolerance: float = 0.2, at_least: int = 15, name: str = "accuracy"
) -> Placement:
    """Place a cell by its accuracy among cells of like multiply-adds, which were trained as it was.

    Args:
        table: with the columns `name` and "macs", such as `read_cells` gives; without the cell itself.
        accuracy: of the cell, in the table's unit (%).
        macs: its multiply-adds, in the same network at the same resolution.
        tolerance: neighbours have at most this share more or fewer multiply-adds.
        at_least: if these are fewer, the neighbours are so many cells nearest in the logarithm of multiply-adds, or
            the whole table.
        name: the column that `accuracy` is of; its direction says what is worse.

    Raises:
        InputError: a column is missing, or a number is out of its range.
    """
    if not math.isfinite(accuracy):
        raise InputError(f"accuracy: got {accuracy}, expected a finite number")
    if not 0.0 < macs < math.inf:
        raise InputError(f"macs: got {macs}, expected a positive number")
    if not 0.0 <= tolerance < math.inf:
        raise InputError(f"tolerance: got {tolerance}, expected a share ≥ 0")
    at_least = integer("at_least", at_least, 1)
    names = [quantity.name for quantity in table.quantities]
    for column in (name, "macs"):
        if column not in names:
            raise InputError(f"table: no column {column!r}, expected one of {', '.join(names)}")
    costs = table.values[:, names.index("macs")]
    if not bool((costs > 0.0).all()):
        raise InputError(f"table: got {costs.min():g} macs, expected positive numbers")
    near = (costs - macs).abs() <= tolerance * macs
    if int(near.sum()) < at_least:
        near = torch.argsort((costs.log() - math.log(macs)).abs(), stable=True)[:at_least]
    sign = table.quantities[names.index(name)].sign
    difference = sign * (accuracy - table.values[near, names.index(name)])
    # 100 where the neighbour is worse, 50 for a tie: the percentile is their mean.
    scores = (50.0 * (1.0 + difference.sign())).tolist()
    low, high = mean_interval(scores)
    return Placement(sum(scores) / len(scores), low, high, len(scores))
