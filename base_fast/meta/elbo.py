"""The per-task loss: the negative ELBO per example (Shaw et al. 2019)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast import ops
from base_fast.meta.architecture import draw_cells
from base_fast.meta.config import InnerConfig
from base_fast.meta.variables import Variables
from base_fast.random import fold_in
from base_fast.space import Space
from base_fast.supernet import Supernet


class Elbo(NamedTuple):
    """loss = nll + β_z/N·kl_z + β_θ/N·kl_theta, all in nats; the share of the batch classified right.

    On a single path z is drawn without a gradient, and its KL is no part of the weights' loss."""

    loss: Tensor
    nll: Tensor
    kl_theta: Tensor
    kl_z: Tensor
    accuracy: Tensor


def elbo(
    supernet: Supernet,
    q: Variables,
    prior: Variables,
    x: Tensor,
    y: Tensor,
    key: Tensor,
    config: InnerConfig,
    *,
    tau: float,
    noise: float,
    dataset_size: int,
) -> Elbo:
    """Negative ELBO of one batch, with one sample of θ and of z drawn from `key`.

    Args:
        q, prior: the task's posterior and its prior; differentiable in both.
        x, y: images (B, 3, H, W) and labels (B,).
        tau, noise: temperature and noise scale of the Gumbel-Softmax.
        dataset_size: N, training examples of the task; the KL terms are divided by it.
    """
    theta_key, z_key = (own.to(q.mu.device) for own in step_keys(key))
    theta, kl_theta = q.mu, q.mu.new_zeros(())
    if config.sample_theta and config.beta_theta > 0.0:
        theta, kl_theta = ops.gaussian_sample_kl(q.mu, q.rho, prior.mu, prior.rho, theta_key)
    elif config.sample_theta:
        theta = ops.gaussian_sample(q.mu, q.rho, theta_key)
    elif config.beta_theta > 0.0:
        kl_theta = ops.gaussian_kl(q.mu, q.rho, prior.mu, prior.rho)
    z = architecture(supernet.space, q.alpha, z_key, config, tau, noise)
    logits = supernet(x, theta, z, config.z != "soft")
    nll = F.cross_entropy(logits, y)
    loss, kl_z = nll, nll.new_zeros(())
    if config.beta_theta > 0.0:
        loss = loss + config.beta_theta / dataset_size * kl_theta
    if config.beta_z > 0.0 and config.z != "single":
        if config.kl_z == "categorical":
            kl_z = ops.categorical_kl(q.alpha, prior.alpha)
        else:
            kl_z = concrete_log_ratio(q.alpha, prior.alpha, z_key, noise)
        loss = loss + config.beta_z / dataset_size * kl_z
    accuracy = (logits.detach().argmax(dim=1) == y).to(nll.dtype).mean()
    return Elbo(loss, nll, kl_theta, kl_z, accuracy)


def architecture(space: Space, logits: Tensor, key: Tensor, config: InnerConfig, tau: float, noise: float) -> Tensor:
    """(T, E, L): what runs in a step, drawn from `key` at logits (T, E, L), and differentiable in them if relaxed."""
    if config.z == "single":
        path, _ = draw_cells(space, logits, config.uniform, key.cpu(), 1)
        return F.one_hot(path[0], space.num_primitives).to(logits)
    return ops.gumbel_softmax(logits, key, tau, config.z == "hard", noise)


def step_keys(key: Tensor) -> tuple[Tensor, Tensor]:
    """The keys of θ's noise and of the architecture in a step whose key this is."""
    return fold_in(key, 0), fold_in(key, 1)


def concrete_log_ratio(logits: Tensor, prior_logits: Tensor, key: Tensor, noise: float = 1.0) -> Tensor:
    """log q(z) − log p(z), summed over edges, of two Concrete densities at the z that `key` draws from the first.

    In terms of the noise, φ − τ log z is −ξ up to a constant per edge, and so the temperature drops out:

        Σ_l (φ_l − α_l) + L·logsumexp_l(α_l − φ_l − ξ_l) − L·logsumexp_l(−ξ_l)

    The densities themselves, each of which needs log z, lose this difference where entries of z underflow.
    """
    # ξ up to a constant per edge, which cancels. Between −3 and 17, its softmax does not underflow.
    xi = torch.log(ops.gumbel_softmax(torch.zeros_like(logits), key, noise=noise))
    away = prior_logits - logits
    spread = torch.logsumexp(away - xi, dim=-1) - torch.logsumexp(-xi, dim=-1)
    return (logits.shape[-1] * spread - away.sum(dim=-1)).sum()
