"""The public functional ops. Each calls `torch.ops.base_fast.<op>`; `backends()` says which kernel serves it where."""

from __future__ import annotations

from base_fast.ops.categorical_kl import categorical_kl
from base_fast.ops.gaussian_kl import gaussian_kl
from base_fast.ops.gaussian_sample import gaussian_sample
from base_fast.ops.gaussian_sample_kl import gaussian_sample_kl
from base_fast.ops.gumbel_softmax import gumbel_softmax
from base_fast.ops.mixed_cell import mixed_cell
from base_fast.ops.mixed_op import mixed_op
from base_fast.ops.mixed_sum import mixed_sum
from base_fast.ops.registry import backends
from base_fast.ops.relu_conv_norm import relu_conv_norm
from base_fast.ops.sgd_step import sgd_step

__all__ = [
    "backends",
    "categorical_kl",
    "gaussian_kl",
    "gaussian_sample",
    "gaussian_sample_kl",
    "gumbel_softmax",
    "mixed_cell",
    "mixed_op",
    "mixed_sum",
    "relu_conv_norm",
    "sgd_step",
]
