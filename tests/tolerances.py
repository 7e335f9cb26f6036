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

# The Concrete log-density: 4.2e-7.
CONCRETE_FLOAT32 = 2e-6
# 1.3e-2: the log-sum-exp is multiplied by L = 8.
CONCRETE_BFLOAT16 = 4e-2
# The midpoint rule with 20,000 points on a density whose ends behave like s^(τ − 1), τ = 0.8: 1.1e-4.
MIDPOINT_RULE = 3e-4

# Eight weighted branches: 1.0e-7.
SUM_FLOAT32 = 5e-7
# 5.1e-3: every partial sum is rounded.
SUM_BFLOAT16 = 2e-2

# An edge of eight primitives, value and gradients, against torch.nn modules: 1.6e-15.
EDGE_FLOAT64 = 1e-13
# Its value: 1.2e-7.
EDGE_FLOAT32 = 1e-6
# Its value: 5.7e-3.
EDGE_BFLOAT16 = 2e-2
# Gradients of a factorized reduction, sums over 2·32·32 pixels: 2.2e-5.
EDGE_GRADIENT_FLOAT32 = 1e-4
# Batch norm divides by √(variance + 1e-5): 6.2e-6 of the variance.
BATCH_NORM_EPSILON = 5e-5

# Logits and gradients of up to six cells against the plain network: 1.3e-14.
SUPERNET_FLOAT64 = 1e-12
# Logits of five cells: 3.4e-6.
SUPERNET_FLOAT32 = 2e-5
# A central difference of a gradient with step 1e-5 in float64: 3.2e-7, its truncation.
FINITE_DIFFERENCE = 2e-6

# softplus(ρ(σ))/σ down to σ = 1e-30, where ρ = −69 has a rounding of 3.8e-6.
INVERSE_SOFTPLUS_FLOAT32 = 1e-5
# 6.0e-11 at σ = 20.5: from 20 on, PyTorch's softplus returns its argument.
INVERSE_SOFTPLUS_FLOAT64 = 2e-10

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
