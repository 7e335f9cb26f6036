"""The set-up that the benchmarks of Gaussian weights share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from base_fast.random import key
from benchmarks.case import Outputs


@dataclass(frozen=True)
class Weights:
    """Posterior, prior, key, and the gradient that a network would send back to θ; all (P,) but the key."""

    mu: Tensor
    rho: Tensor
    prior_mu: Tensor
    prior_rho: Tensor
    key: Tensor
    grad: Tensor

    @classmethod
    def of(cls, p: int) -> Weights:
        return cls(
            mu=torch.randn(p).mul_(0.1).requires_grad_(),
            rho=torch.randn(p).mul_(0.5).sub_(3.0).requires_grad_(),
            prior_mu=torch.randn(p).mul_(0.1),
            prior_rho=torch.randn(p).mul_(0.5).sub_(3.0),
            key=key(0),
            grad=torch.randn(p),
        )

    @property
    def leaves(self) -> dict[str, Tensor]:
        return {"mu": self.mu, "rho": self.rho}

    def double(self) -> Weights:
        """The same in float64, for the reference."""
        mu, rho = (x.detach().double().requires_grad_() for x in (self.mu, self.rho))
        return Weights(mu, rho, self.prior_mu.double(), self.prior_rho.double(), self.key, self.grad.double())


def detached(outputs: Outputs) -> Outputs:
    return {name: x.detach() for name, x in outputs.items()}
