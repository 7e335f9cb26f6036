"""What children drawn from p(α | π) say of the marginal likelihood: PARSEC's estimates of its two gradients.

With K children α_k ~ p(α | π) and their likelihoods p(y | X, v, α_k) on a batch,

    ∇_v log p(y | X, v, π) ≈ Σ_k w_k ∇_v log p(y | X, v, α_k),    ∇_π log p(y | X, v, π) ≈ Σ_k w_k ∇_π log p(α_k | π),

w_k ∝ p(y | X, v, α_k), Σ_k w_k = 1. The estimates are consistent, with a bias ∝ 1/K; of K = 1 they are the scores of
the draw. Source: Casale, Gordon, Fusi, "Probabilistic Neural Architecture Search", arXiv:1902.05116.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.distributions import IndependentEdges
from base_fast.errors import Diverged
from base_fast.meta.architecture import tempered
from base_fast.space import AnySpace

# Where likelihoods are this far apart, no temperature that is reported would be larger.
SMALLEST_BETA = 2.0**-30


class LikelihoodWeights(NamedTuple):
    """weights (K,) float64, which sum to one; effective: their sample size 1/Σw²; temperature τ ≥ 1 of the likelihoods,
    w_k ∝ p(y | X, v, α_k)^(1/τ)."""

    weights: Tensor
    effective: float
    temperature: float


def likelihood_weights(log_likelihoods: Tensor, share: float = 0.0) -> LikelihoodWeights:
    """Normalized likelihoods of children, tempered as little as it takes.

    A likelihood is a product over a batch: of 64 images, one child takes all the weight, and the others were drawn for
    nothing. So τ is the smallest temperature from 1 up at which the effective sample size is `share`·K.

    Args:
        log_likelihoods: (K,) log p(y | X, v, α_k), sums over the batch, in nats.
        share: in [0, 1]; 0 never tempers.

    Raises:
        Diverged: a likelihood is NaN or infinite.
    """
    if not bool(torch.isfinite(log_likelihoods).all()):
        raise Diverged(f"log-likelihoods of children are {log_likelihoods.tolist()}; a smaller lr may help")
    found = log_likelihoods.double().cpu()
    beta, weights = tempered(torch.zeros_like(found), found - found.mean(), 1.0, share * len(found))
    return LikelihoodWeights(weights, float(1.0 / weights.square().sum()), 1.0 / max(beta, SMALLEST_BETA))


def architecture_gradient(space: AnySpace, logits: Tensor, choices: Tensor, weights: Tensor) -> Tensor:
    """Σ_k w_k ∇_π log p(α_k | π) (T, E, L), with respect to the logits of π.

    Args:
        logits: (T, E, L) of π.
        choices: (K, T, E) children.
        weights: (K,).
    """
    logits = logits.detach().requires_grad_(True)
    scores = IndependentEdges(space, logits).log_prob(choices)
    (gradient,) = torch.autograd.grad((weights * scores).sum(), logits)
    return gradient
