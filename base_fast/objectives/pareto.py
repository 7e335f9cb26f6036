"""What is on the front of several quantities, how good a front is, and which ones to keep of many; by pymoo."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from base_fast.errors import InputError


def pymoo(module: str) -> Any:
    """A module of pymoo, an optional dependency that takes a second to load.

    Raises:
        InputError: it is not installed; says how to get it.
    """
    try:
        return importlib.import_module(f"pymoo.{module}")
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"fronts need the package pymoo: pip install 'base-fast[pareto]' ({reason})") from error


def front(values: Tensor) -> Tensor:
    """(n, G) float64, the larger the better → (k,) int64: those that no other one beats, best in the first first.

    One beats another that is no better in any column and worse in one. Of equal ones it is the first.

    Raises:
        InputError: not (n, G) with numbers.
    """
    _check(values)
    # Sorted by columns, so that of equal ones the first comes first.
    order = np.lexsort([np.arange(len(values)), *(-values.numpy().T[::-1])])
    kept: list[int] = []
    sorting = pymoo("util.nds.non_dominated_sorting").NonDominatedSorting()
    on_front = set(sorting.do(-values.numpy(), only_non_dominated_front=True).tolist()) if len(values) else set()
    for i in order.tolist():
        if i in on_front and not (kept and torch.equal(values[kept[-1]], values[i])):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64, device="cpu")


def hypervolume(values: Tensor, reference: Sequence[float]) -> float:
    """The volume between a reference point and the front of values (n, G), in the product of their units.

    It depends on the reference, a value for each column: fix it, or figures cannot be compared. What is worse than it
    in some column adds nothing.

    Raises:
        InputError: see `front`; a reference of another length, or not finite.

    Source: Zitzler & Thiele, "Multiobjective Evolutionary Algorithms", IEEE Trans. Evolutionary Computation 1999.
    """
    _check(values)
    if len(reference) != values.shape[1] or not all(map(math.isfinite, reference)):
        raise InputError(f"reference: got {list(reference)}, expected {values.shape[1]} finite numbers, one a column")
    point = torch.tensor(list(reference), dtype=torch.float64, device="cpu")
    inside = values[(values > point).all(dim=1)]
    if len(inside) == 0:
        return 0.0
    return float(pymoo("indicators.hv").HV(ref_point=-point.numpy())(-inside.numpy()))


def select(values: Tensor, k: int, seed: int) -> Tensor:
    """(n, G) → (min(k, n),) int64: NSGA-II's choice, front after front; of the last, those with most room around them.

    Args:
        seed: of the order among equally crowded ones.

    Source: Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Trans.
    Evolutionary Computation 2002.
    """
    _check(values)
    population = pymoo("core.population").Population.new(F=-values.numpy())
    for i, one in enumerate(population):
        one.set("row", i)
    survival = pymoo("operators.survival.rank_and_crowding").RankAndCrowding()
    problem = pymoo("core.problem").Problem(n_var=1, n_obj=values.shape[1])
    chosen = survival.do(problem, population, n_survive=min(k, len(values)), random_state=np.random.default_rng(seed))
    return torch.tensor([one.get("row") for one in chosen], dtype=torch.int64, device="cpu")


def _check(values: Tensor) -> None:
    if values.dim() != 2 or values.shape[1] < 1:
        raise InputError(f"values: got shape {tuple(values.shape)}, expected (n, quantities)")
    if bool(torch.isnan(values).any()):
        raise InputError(f"values: got {int(torch.isnan(values).sum())} NaN, expected numbers")
