"""The tolerances of the tests, in one place: each a small multiple of a measured error, which its comment gives.

An error is the largest absolute difference, divided by the largest expected magnitude where that exceeds one. Measured
with torch 2.14 on a Xeon with AVX-512, one thread; errors in float32 and bfloat16 are against the same inputs computed
in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Sums of up to 5,000 terms in another order than torch.distributions takes them: 1.2e-15.
FLOAT64 = 1e-14

# softmax((φ + ξ)/τ) at τ = 1: 7.7e-8, one rounding; grows with 1/τ.
SOFTMAX_FLOAT32 = 3e-7
# The same where ξ and the logits have 8 bits: 3.6e-3.
SOFTMAX_BFLOAT16 = 1.5e-2

# 1e5 draws: 4.4e-8 of the largest.
GUMBEL_FLOAT32 = 2e-7
# 1e5 draws: 3.0e-7, the rounding of an angle of up to 2π.
NORMAL_FLOAT32 = 1e-6
# θ = μ + σ·ε of 4,097 weights: 2.2e-7.
GAUSSIAN_SAMPLE_FLOAT32 = 1e-6
# 4.2e-3: one rounding of ε and one of the result.
GAUSSIAN_SAMPLE_BFLOAT16 = 1.2e-2

# Both KLs, sums of up to 5,000 terms: 1.7e-8 of the value.
KL_FLOAT32 = 2e-7
# 3.8e-3: the rounding of the result.
KL_BFLOAT16 = 1.2e-2
# ln 8: 1.1e-7, one rounding.
ENTROPY_FLOAT32 = 5e-7

# Outer steps of up to 17 tasks and clipped gradient steps: 8.9e-8, one rounding.
STEP_FLOAT32 = 3e-7
# The same: 3.8e-3.
STEP_BFLOAT16 = 1.2e-2
# The norm of 100,002 elements: 1.7e-14.
NORM_FLOAT64 = 6e-14
# torch adds 1e-6 to the norm that it divides by: 7.4e-8.
CLIP_FLOAT64 = 3e-7

# Eight weighted branches: 1.0e-7.
SUM_FLOAT32 = 5e-7
# 5.1e-3: every partial sum is rounded.
SUM_BFLOAT16 = 2e-2

# Gradients of an edge from values that were rounded to 8 bits: 7.1e-3.
STORED_IN_BFLOAT16 = 2e-2

# An edge of eight primitives, value and gradients, against torch.nn modules: 1.6e-15.
EDGE_FLOAT64 = 1e-13
# 3,000 edges of any kind against the reference: 1.1e-13.
EDGE_ANY_FLOAT64 = 1e-12
# Its value: 1.2e-7.
EDGE_FLOAT32 = 1e-6
# Its value: 5.7e-3.
EDGE_BFLOAT16 = 2e-2
# Gradients of a factorized reduction, sums over 2·32·32 pixels: 2.2e-5.
EDGE_GRADIENT_FLOAT32 = 1e-4
# Errors of an edge in float32, of y and of every gradient, averaged over a dozen batches, by PyTorch's own: 5e-4 to
# 1.3, 0.66 at the median; without fused multiply-adds 1.6 and 0.71. The largest are those of tensors of a few numbers,
# and fall to 1.1 and 1.4 over two dozen.
TIMES_PYTORCH = 2.0
# What gradients below the smallest normal number lose, by that number and the number of pixels: 0.05, in that of z.
FLUSHED = 0.2
# Its value where values before batch norms are rounded to bfloat16: 1.8e-3.
EDGE_STORED_BFLOAT16 = 1e-2
# Its gradients then, and of bfloat16: 7.0e-2, where a ReLU opens or closes by rounding.
EDGE_GRADIENT_STORED_BFLOAT16 = 0.2
# The cosine between the gradients of a small model in bfloat16 and in float32: 0.998.
BFLOAT16_DIRECTION = 0.99
# Batch norm divides by √(variance + 1e-5): 6.2e-6 of the variance.
BATCH_NORM_EPSILON = 5e-5

# ReLU, 1×1 convolution, batch norm and their gradients, of up to 48 channels: 1.1e-14.
CONV_NORM_FLOAT64 = 5e-14
# 4.9e-7.
CONV_NORM_FLOAT32 = 2e-6
# 4.1e-3.
CONV_NORM_BFLOAT16 = 1.2e-2
# Means 1000 standard deviations away: 1.2e-7.
CONV_NORM_FAR_FLOAT32 = 5e-7

# A cell of fourteen such edges against its definition, channels of one value among them: 1.8e-14.
CELL_FLOAT64 = 1e-13
# Its value: 1.3e-7.
CELL_FLOAT32 = 1e-6
# Its value, nodes rounded at every edge: 4.5e-3.
CELL_BFLOAT16 = 2e-2
# Its value where values before batch norms are rounded to bfloat16: 1.3e-3.
CELL_STORED_BFLOAT16 = 1e-2
# Its gradients then: 0.14, where a ReLU opens or closes by rounding.
CELL_GRADIENT_STORED_BFLOAT16 = 0.4

# Triton's kernels in its interpreter.
# The KL of one element, where no sum averages roundings out: 1.6e-7.
KL_KERNEL_FLOAT32 = 6e-7
# Its gradients: 4.9e-7 of the largest.
KL_GRADIENT_FLOAT32 = 2e-6
# The KL of posteriors within 1e-3 of their priors, of the value: 9.4e-7.
KL_CLOSE_FLOAT32 = 4e-6
# softplus(ρ), |ρ| ≤ 80, relative: 2.6e-6, the rounding of ρ·log₂e without a fused product and sum.
SOFTPLUS_FLOAT32 = 1e-5
# An edge's value and gradients, of up to eight primitives: 4.6e-6, z's gradient of an identity alone.
EDGE_KERNEL_FLOAT32 = 2e-5
# 1.3e-2: images and their gradients are rounded at every stage.
EDGE_KERNEL_BFLOAT16 = 4e-2
# Its value 1000 standard deviations from zero: 5.9e-5, the rounding of the mean.
EDGE_KERNEL_FAR_FLOAT32 = 1e-3

# Logits and gradients of up to six cells against the plain network: 1.3e-14.
SUPERNET_FLOAT64 = 1e-12
# Losses of the first steps of a training: 5e-7 of up to 2.4.
LOSS_FLOAT32 = 2e-6
# How far loss curves of 200 steps are from those of PyTorch, by how far two of PyTorch are from each other, over any
# three of eight seeds: 0.4 to 1.1.
TIMES_PYTORCH_APART = 2.0
# Logits of five cells: 3.4e-6.
SUPERNET_FLOAT32 = 2e-5
# Logits of three cells of 4 channels whose activations are bfloat16, by their norm, of 48 draws: 2.0e-2.
SUPERNET_BFLOAT16 = 0.06
# The cosine of their gradient with that in float32, where ReLUs open or close by rounding: 0.990 at the median of 48
# draws, 0.934 in the worst.
SUPERNET_DIRECTION_BFLOAT16 = 0.97
# The same of a task's gradient on the prior after three steps, for any outer rule and group of variables: 0.992 at the
# median of 8 tasks.
META_DIRECTION_BFLOAT16 = 0.97
# A central difference of a gradient with step 1e-5 in float64: 3.2e-7, its truncation.
FINITE_DIFFERENCE = 2e-6

# softplus(ρ(σ))/σ down to σ = 1e-30, where ρ = −69 has a rounding of 3.8e-6.
INVERSE_SOFTPLUS_FLOAT32 = 1e-5
# 6.0e-11 at σ = 20.5: from 20 on, PyTorch's softplus returns its argument.
INVERSE_SOFTPLUS_FLOAT64 = 2e-10

# Compiled kernels against the references in float64, of all instruction sets: float32, float64 (where noise keeps its
# float32), and after # what was measured. All results in bfloat16 are one rounding away, which is at most 3.9e-3.
_KERNEL = {
    "gumbel_softmax": (1e-6, 2e-7),  # 2.7e-7, 3.9e-8
    "gumbel_softmax_backward": (1e-6, 2e-15),  # 2.5e-7, 3.3e-16
    "gaussian_sample": (1e-6, 1e-6),  # 3.3e-7, 3.3e-7
    "gaussian_sample_backward": (1e-6, 1e-6),  # 2.9e-7, 2.6e-7
    "gaussian_kl": (1e-6, 1e-14),  # 2.4e-7, 1.9e-15
    "gaussian_kl_backward": (1e-6, 1e-14),  # 3.5e-7, 6.4e-16
    "gaussian_sample_kl": (1e-6, 1e-6),  # 3.5e-7, 3.6e-7
    "gaussian_sample_kl_backward": (1e-6, 1e-6),  # 2.7e-7, 9.5e-8
    "mixed_sum": (4e-7, 1e-15),  # 1.2e-7, 0
    "mixed_sum_backward": (1e-6, 1e-14),  # 3.1e-7, 2.2e-15
    "sgd_step": (2e-7, 1e-15),  # 5.4e-8, 2.2e-16
    "relu_conv_norm": (2e-6, 1e-14),  # 5.0e-7, 2.1e-15
    # Where the norm takes a gradient away altogether, the roundings of what cancels are left.
    "relu_conv_norm_backward": (5e-5, 2e-13),  # 1.2e-5, 3.6e-14
}
KERNEL = {
    op: {torch.float32: single, torch.float64: double, torch.bfloat16: 5e-3} for op, (single, double) in _KERNEL.items()
}

# Statistics of fixed keys lie within so many standard errors of their expectation.
STANDARD_ERRORS = 4.0
# Of Kolmogorov–Smirnov at a million draws of a fixed key.
SMALLEST_P_VALUE = 1e-3


def error(actual: Tensor, expected: Tensor) -> float:
    """The error of `actual` as defined above, in float64; infinite where either is not a number."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if not actual.numel():
        return 0.0
    a, e = actual.detach().double(), expected.detach().double()
    difference = torch.where(a == e, 0.0, (a - e).abs()).nan_to_num(nan=float("inf"))
    return float(difference.max() / e.abs().max().clamp_min(1.0))


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    found = error(actual, expected)
    assert found <= tolerance, f"error {found:.3g}, tolerance {tolerance:.3g}"
