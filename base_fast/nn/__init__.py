"""Drop-in layers."""

from __future__ import annotations

from base_fast.nn.bayesian import BayesianLayer
from base_fast.nn.bayesian_conv2d import BayesianConv2d
from base_fast.nn.bayesian_linear import BayesianLinear
from base_fast.nn.bayesian_model import collect_kl, kl, sampled, seed, set_prior
from base_fast.nn.mixed_op import MixedOp
from base_fast.nn.patch import PatchedEdge, PatchReport, patch

__all__ = [
    "BayesianConv2d",
    "BayesianLayer",
    "BayesianLinear",
    "MixedOp",
    "PatchReport",
    "PatchedEdge",
    "collect_kl",
    "kl",
    "patch",
    "sampled",
    "seed",
    "set_prior",
]
