"""What a search's shared weights and edge logits are to another search: a posterior to start from."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from base_fast.errors import InputError
from base_fast.posterior import Posterior
from base_fast.random import key
from base_fast.runs import to_dict
from base_fast.strategies.strategy import OneShot
from base_fast.supernet import Supernet
from base_fast.tasks import Task

SIGMA_SCALE = 0.01
"""σ of trained weights, in standard deviations of untrained ones; a fresh prior has 0.1."""


def check_cells(supernet: Supernet) -> None:
    """Raises InputError where the supernet has no cell, so that no architecture makes a difference."""
    if not supernet.used_cell_types:
        layers = supernet.config.layers
        raise InputError(f"layers: got {layers}, all of them reductions, expected enough for a cell to search")


def point_posterior(
    supernet: Supernet,
    theta: Tensor,
    logits: Tensor,
    settings: OneShot,
    task: Task,
    steps: int,
    lineage: tuple[dict[str, Any], ...] = (),
) -> Posterior:
    """Weights that were trained as a point, and logits of edges, as a posterior: μ = θ, α = logits.

    A point has no σ, and a Gaussian needs one. It is a tenth of a fresh prior's: so small that a network of drawn
    weights computes what that of the trained ones does, and yet not so small that a KL to it would pin the weights.

    Args:
        supernet: with the task's head.
        theta: (P,).
        logits: (T, E, L).
        settings: of the search that trained them.
        task: on which.
        steps: of the weights, that were taken.
        lineage: of the posterior that the search started from.
    """
    rho = supernet.prior(key(0).to(theta.device), sigma_scale=SIGMA_SCALE, dtype=theta.dtype).rho
    event = {"event": "search", "strategy": type(settings).__name__, "task": task.name, "steps": steps}
    return Posterior(
        theta.detach(),
        rho,
        logits.detach().to(theta),
        supernet.layout,
        supernet.space,
        to_dict(supernet.config),
        (*lineage, event | {"config": to_dict(settings)}),
    )
