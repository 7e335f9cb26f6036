"""The per-task loss: the negative ELBO per example (Shaw et al. 2019)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from base_fast import ops
from base_fast.meta.config import InnerConfig
from base_fast.meta.variables import Variables
from base_fast.random import fold_in
from base_fast.supernet import Supernet


class Elbo(NamedTuple):
    """loss = nll + β_z/N·kl_z + β_θ/N·kl_theta, all in nats; the share of the batch classified right."""

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
    theta = ops.gaussian_sample(q.mu, q.rho, fold_in(key, 0).to(q.mu.device)) if config.sample_theta else q.mu
    z_key = fold_in(key, 1).to(q.mu.device)
    z = ops.gumbel_softmax(q.alpha, z_key, tau, config.hard, noise)
    logits = supernet(x, theta, z, config.hard)
    nll = F.cross_entropy(logits, y)
    loss, kl_theta, kl_z = nll, nll.new_zeros(()), nll.new_zeros(())
    if config.beta_theta > 0.0:
        kl_theta = ops.gaussian_kl(q.mu, q.rho, prior.mu, prior.rho)
        loss = loss + config.beta_theta / dataset_size * kl_theta
    if config.beta_z > 0.0:
        if config.kl_z == "categorical":
            kl_z = ops.categorical_kl(q.alpha, prior.alpha)
        else:
            soft = ops.gumbel_softmax(q.alpha, z_key, tau, False, noise) if config.hard else z
            log_q = ops.concrete_log_density(soft, q.alpha, tau)
            kl_z = (log_q - ops.concrete_log_density(soft, prior.alpha, tau)).sum()
        loss = loss + config.beta_z / dataset_size * kl_z
    accuracy = (logits.detach().argmax(dim=1) == y).to(nll.dtype).mean()
    return Elbo(loss, nll, kl_theta, kl_z, accuracy)
