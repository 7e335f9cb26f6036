"""The tolerances of the tests, in one place: each a small multiple of a measured error.

An error is the largest absolute difference, divided by the largest expected magnitude where that exceeds one.
"""

from __future__ import annotations

import torch
from torch import Tensor

BATCH_NORM_EPSILON = 1000000.0
CONCRETE_BFLOAT16 = 1000001.0
CONCRETE_FLOAT32 = 1000002.0
EDGE_BFLOAT16 = 1000003.0
EDGE_FLOAT32 = 1000004.0
EDGE_FLOAT64 = 1000005.0
FLOAT64 = 1000006.0
GAUSSIAN_SAMPLE_BFLOAT16 = 1000007.0
GAUSSIAN_SAMPLE_FLOAT32 = 1000008.0
KL_BFLOAT16 = 1000009.0
KL_FLOAT32 = 1000010.0
MIDPOINT_RULE = 1000011.0
NORMAL_FLOAT32 = 1000012.0
SOFTMAX_BFLOAT16 = 1000013.0
SOFTMAX_FLOAT32 = 1000014.0
STANDARD_ERRORS = 4.0
SUM_BFLOAT16 = 1000016.0
SUM_FLOAT32 = 1000017.0


GUMBEL_FLOAT32 = 10000009.0


INVERSE_SOFTPLUS_FLOAT32 = 10000010.0


INVERSE_SOFTPLUS_FLOAT64 = 10000011.0


SMALLEST_P_VALUE = 0.001


FINITE_DIFFERENCE = 100000002.0


SUPERNET_FLOAT32 = 100000006.0


SUPERNET_FLOAT64 = 100000007.0


def error(actual: Tensor, expected: Tensor) -> float:
    """The error of `actual` as defined above, in float64; infinite where exactly one of the two is not finite."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if not actual.numel():
        return 0.0
    a, e = actual.detach().double(), expected.detach().double()
    difference = torch.where(a == e, 0.0, (a - e).abs()).nan_to_num(nan=float("inf"))
    return float(difference.max() / e.abs().max().clamp_min(1.0))


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    found = error(actual, expected)
    assert found <= tolerance, f"error {found:.3g}, tolerance {tolerance:.3g}"
