"""DrNAS: the primitives' weights on an edge are drawn from a Dirichlet distribution that is learned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from base_fast.errors import InputError
from base_fast.objectives.shared_training import SharedTrainingConfig
from base_fast.random import generator
from base_fast.space import Space
from base_fast.strategies.one_shot import GradientStrategy, Tensors


@dataclass(frozen=True)
class DrNas(GradientStrategy):
    """Settings of DrNAS: z_e ~ Dirichlet(elu(α_e) + 1), and α follows the validation loss through the draw.

    The source keeps α near zero, and the Dirichlet near the flat one, by the L2 penalty `decay`, or by a KL divergence
    instead (`kl`, with decay = 0). Its two stages of the DARTS space, which grow partial channels and prune primitives,
    are left out.

    Source: Chen, Wang, Cheng, Tang, Hsieh, "DrNAS: Dirichlet Neural Architecture Search", ICLR 2021: on NAS-Bench-201
    100 epochs of 25,000 images, optimizers as in DARTS.
    """

    training: SharedTrainingConfig = SharedTrainingConfig(steps=39_000)
    kl: float = 0.0
    """Weight of the KL divergence to the flat Dirichlet, summed over edges."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.kl < math.inf:
            raise InputError(f"kl: got {self.kl!r}, expected a finite number ≥ 0")

    def initial(self, space: Space, logits: Tensor, key: Tensor) -> Tensors:
        # The Dirichlet's mean is the prior's softmax; uniform logits give the flat one, α = 0.
        concentration = logits.shape[-1] * torch.softmax(logits, dim=-1)
        alpha = torch.where(concentration < 1.0, concentration.log(), concentration - 1.0)
        return super().initial(space, alpha, key)

    def z(self, variables: Tensors, key: Tensor, progress: float) -> Tensor:
        return dirichlet(concentration(variables[0]), key)

    def penalty(self, variables: Tensors) -> Tensor | None:
        if self.kl == 0.0:
            return None
        own = concentration(variables[0])
        return self.kl * kl_divergence(Dirichlet(own), Dirichlet(torch.ones_like(own))).sum()

    def logits(self, space: Space, variables: Tensors) -> Tensor:
        # Those of the Dirichlet's mean.
        return concentration(variables[0]).log()


def concentration(alpha: Tensor) -> Tensor:
    """elu(α) + 1, without the rounding of a sum where it is small."""
    return torch.where(alpha < 0.0, alpha.clamp_max(0.0).exp(), alpha + 1.0)


def dirichlet(concentration: Tensor, key: Tensor) -> Tensor:
    """A draw from Dirichlet(c) along the last axis, differentiable in c (..., L) > 0 on the CPU.

    z = g/Σg with g_l ~ Gamma(c_l, 1), drawn in double precision by PyTorch from a generator that the key seeds; dg/dc
    is the implicit one, −(∂F/∂c)/(∂F/∂g) of Gamma's distribution function F.

    Source: Figurnov, Mohamed, Mnih, "Implicit Reparameterization Gradients", NeurIPS 2018.
    """
    gamma = torch._standard_gamma(concentration.double(), generator=generator(key))
    return (gamma / gamma.sum(dim=-1, keepdim=True)).to(concentration)
