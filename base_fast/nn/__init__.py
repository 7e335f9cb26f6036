"""Drop-in layers."""

from __future__ import annotations

from base_fast.nn.bayesian import BayesianLayer
from base_fast.nn.bayesian_convolution import (
    BayesianConv1d,
    BayesianConv2d,
    BayesianConv3d,
    BayesianConvTranspose1d,
    BayesianConvTranspose2d,
    BayesianConvTranspose3d,
)
from base_fast.nn.bayesian_linear import BayesianLinear
from base_fast.nn.bayesian_model import collect_kl, kl, sampled, seed, set_prior
from base_fast.nn.convert import bayesian, plain
from base_fast.nn.fused_edge import FusedEdge
from base_fast.nn.mixed_op import MixedOp
from base_fast.nn.patch import PatchedEdge, PatchReport, patch, unpatch
from base_fast.nn.uncertainty import expected_calibration_error, mutual_information, predictions, predictive_entropy

__all__ = [
    "BayesianConv1d",
    "BayesianConv2d",
    "BayesianConv3d",
    "BayesianConvTranspose1d",
    "BayesianConvTranspose2d",
    "BayesianConvTranspose3d",
    "BayesianLayer",
    "BayesianLinear",
    "FusedEdge",
    "MixedOp",
    "PatchReport",
    "PatchedEdge",
    "bayesian",
    "collect_kl",
    "expected_calibration_error",
    "kl",
    "mutual_information",
    "patch",
    "plain",
    "predictions",
    "predictive_entropy",
    "sampled",
    "seed",
    "set_prior",
    "unpatch",
]
