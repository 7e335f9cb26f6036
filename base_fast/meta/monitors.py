"""What to watch while a prior is learned: numbers that show the known ways in which the search goes wrong."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from base_fast.meta.config import InnerConfig
from base_fast.meta.inner import Drawn
from base_fast.meta.variables import Variables
from base_fast.posterior import mean_entropy
from base_fast.space import Space

KL_PULL_LIMIT = 0.1


def kl_pull(config: InnerConfig, rho: Tensor, dataset_size: int) -> float:
    """The largest share of the way back to the prior that one step takes a mean because of the KL of the weights.

    η·β_θ/(N·σ²) for plain steps; preconditioning by σ² leaves η·β_θ/N, and Adam takes steps of η/(|μ − μ₀|) at most,
    which has no such limit. Around 0.5 the means are pinned; above 2 they diverge.
    """
    if config.beta_theta == 0.0 or config.mu.rule == "adam":
        return 0.0
    pull = config.mu.lr * config.beta_theta / dataset_size
    return pull if config.mu.rule == "natural" else pull / softplus(rho.min()).item() ** 2


def warn_of_pull(config: InnerConfig, rho: Tensor, dataset_size: int) -> float:
    """`kl_pull`, with a warning where it destabilizes the means."""
    pull = kl_pull(config, rho, dataset_size)
    if pull > KL_PULL_LIMIT:
        warnings.warn(
            f"the KL of the weights pulls the means back by {pull:.2g} of their way each step (limit {KL_PULL_LIMIT}; "
            "above 2 it diverges): lower inner.beta_theta or inner.mu.lr, or set inner.mu.rule to natural",
            stacklevel=3,
        )
    return pull


def warn_of_warmup(config: InnerConfig, warmup: int, total: int | None, unit: str) -> None:
    """A warning where the warm-up takes all of a run, so that the evidence of trained weights never counts."""
    if total is None or warmup < total or config.alpha.lr == 0.0:
        return
    cold = config.z == "single" and config.evidence.cold is not None
    but = ", but for scores of untrained networks" if cold else ""
    warnings.warn(f"the edge logits never move{but}: warmup is {warmup} of {total} {unit}", stacklevel=3)


def architecture(space: Space, alpha: Tensor) -> dict[str, Any]:
    """Entropy per cell type (nats per edge), share and count of `none` and `skip_connect`, largest probability."""
    pi = torch.softmax(alpha, dim=-1)
    best = pi.argmax(dim=-1)
    row: dict[str, Any] = {
        "entropy": dict(zip(space.cell_types, mean_entropy(alpha).tolist(), strict=True)),
        "max_probability": pi.max().item(),
    }
    for name, primitive in (("none", "none"), ("skip", "skip_connect")):
        if primitive in space.primitives:
            l = space.primitives.index(primitive)
            row[name] = pi[..., l].mean().item()
            row[f"{name}_edges"] = int((best == l).sum())
    return row


def movement(now: Variables, initial: Variables) -> dict[str, float]:
    """How far the weight prior is from where it began: mean log σ/σ₀, and the r.m.s. of (μ − μ₀)/σ₀."""
    sigma, sigma0 = softplus(now.rho), softplus(initial.rho)
    return {
        "sigma_drift": (sigma.log() - sigma0.log()).mean().item(),
        "mu_moved": math.sqrt(((now.mu - initial.mu) / sigma0).square().mean().item()),
    }


def draws(found: Sequence[Drawn]) -> dict[str, Any]:
    """Means over a step's draws of cells, if any: effective sample size, β used, values of the evidence's parts."""
    if not found:
        return {}
    return {
        "effective_cells": fmean(drawn.effective for drawn in found),
        "beta": fmean(drawn.beta for drawn in found),
        "agreement": fmean(drawn.agreement for drawn in found),
        "believed": fmean(drawn.believed for drawn in found),
        "evidence": {name: fmean(drawn.means[name] for drawn in found) for name in found[0].means},
    }
