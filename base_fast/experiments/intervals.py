"""95 % intervals of a mean: by bootstrap, and by Student's t for few values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

import torch

BOOTSTRAPS = 10_000

# The 97.5 % point of Student's t for 1, 2, ... degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean, by bootstrap with fixed draws; a point for a single value.

    Of fewer than ten values it is too narrow: of three it covers the mean three times in four.
    """
    x = torch.tensor(values, dtype=torch.float64, device="cpu")
    drawn = torch.randint(len(x), (BOOTSTRAPS, len(x)), generator=torch.Generator().manual_seed(0), device="cpu")
    low, high = x[drawn].mean(dim=1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64, device="cpu")).tolist()
    return low, high


def student_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean by Student's t, for any number of values; None for a single one, which has no spread.

    Source: Student, "The probable error of a mean", Biometrika 1908.
    """
    if len(values) < 2:
        return None
    half = t975(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def sign_test(differences: Sequence[float]) -> float:
    """Two-sided p of the hypothesis that positive and negative differences are equally likely; zeros say nothing.

    Source: Conover, "Practical Nonparametric Statistics", 3.4; exact.
    """
    positive, negative = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    n, fewer = positive + negative, min(positive, negative)
    return min(1.0, 2.0 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2.0**n)


def t975(freedom: int) -> float:
    """The 97.5 % point of Student's t; beyond the table by its expansion in 1/freedom, right to three digits.

    Source: Abramowitz & Stegun, "Handbook of Mathematical Functions", 26.7.5.
    """
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
