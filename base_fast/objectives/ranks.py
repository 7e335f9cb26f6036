"""Ranks of values, and the normal scores that make values of different units comparable."""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.errors import InputError


def mean_ranks(values: Tensor) -> Tensor:
    """Ranks of values (n,), 1 for the smallest; equal values share the mean of theirs: (n,) float64.

    Raises:
        InputError: another shape, or a value is NaN.
    """
    if values.dim() != 1:
        raise InputError(f"values: got shape {tuple(values.shape)}, expected (n,)")
    if bool(torch.isnan(values).any()):
        raise InputError(f"values: got {int(torch.isnan(values).sum())} NaN, expected numbers, which have ranks")
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    counts = counts.double()
    return (counts.cumsum(0) - (counts - 1) / 2)[place]


def normal_scores(values: Tensor) -> Tensor:
    """Normal scores of values (n,): about what n normal draws of the same order would be, (n,) float64.

    Φ⁻¹((rank − 3/8) / (n + 1/4)), with the mean of the ranks of equal values; the largest value has the largest score.
    One value has score 0.

    Raises:
        InputError: see `mean_ranks`.

    Source: Blom, Statistical Estimates and Transformed Beta-Variables, 1958.
    """
    return torch.special.ndtri((mean_ranks(values) - 0.375) / (len(values) + 0.25))
