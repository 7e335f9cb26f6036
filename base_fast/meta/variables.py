"""The three groups of variables that both a prior and a task's posterior consist of."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.posterior import Posterior
from base_fast.supernet import Supernet

Group = Literal["mu", "rho", "alpha"]
GROUPS: tuple[Group, ...] = ("mu", "rho", "alpha")
WEIGHTS: tuple[Group, ...] = ("mu", "rho")


class Variables(NamedTuple):
    """A tensor for each group: mu (P,), rho (P,), alpha (T, E, L), unless it says otherwise."""

    mu: Tensor
    rho: Tensor
    alpha: Tensor

    @classmethod
    def of(cls, posterior: Posterior) -> Variables:
        """Those of a posterior, not copied."""
        return cls(posterior.mu, posterior.rho, posterior.alpha)

    def named(self) -> dict[Group, Tensor]:
        """The same by group."""
        return {"mu": self.mu, "rho": self.rho, "alpha": self.alpha}

    def leaves(self, moving: Collection[Group] = GROUPS) -> Variables:
        """Detached copies that share storage; those that move require gradients."""
        return Variables(**{group: x.detach().requires_grad_(group in moving) for group, x in self.named().items()})

    def detached(self) -> Variables:
        """The same values, cut off from their graph."""
        return Variables(*(x.detach() for x in self))

    def finite(self) -> bool:
        """Whether there is no NaN and no infinity among them."""
        return all(bool(torch.isfinite(x).all()) for x in self)


def for_task(supernet: Supernet, prior: Variables, policy: str, num_classes: int) -> tuple[Supernet, Variables]:
    """The prior that a task starts from, under a head policy, and the supernet with the task's head.

    kept: the head is part of the prior. zeroed: its means start at zero, for a head averaged over tasks, whose classes
    mean something else each time, starts above ln(classes). own: zeroed, with as many outputs as the task has classes.

    Differentiable in `prior`.

    Raises:
        InputError: if the head does not fit the task and the policy does not replace it.
    """
    outputs = supernet.config.num_classes
    if policy != "own" and num_classes != outputs:
        raise InputError(
            f"num_classes: got a task of {num_classes} classes for a head of {outputs} outputs; set head to 'own'"
        )
    if policy == "kept":
        return supernet, prior
    body = slice(0, supernet.head.start)
    head_rho = prior.rho[supernet.head]
    if num_classes != outputs:
        supernet = supernet.with_classes(num_classes)
        # One σ fits all of a fresh head: its weights share a fan-in.
        head_rho = head_rho.mean().expand(supernet.head.stop - supernet.head.start)
    head_mu = torch.zeros_like(head_rho)
    return supernet, Variables(
        torch.cat((prior.mu[body], head_mu)), torch.cat((prior.rho[body], head_rho)), prior.alpha
    )
