"""Linear probes: what a ridge regression reads off features, on examples that it wasn't fitted on.

For features x that are centred and of mean square 1, a penalty λ = σ² gives the least squares fit on x + ε with
ε ~ N(0, σ²) (Bishop 1995). So σ is the noise, relative to the features, that what is read has to stand out from: what
arithmetic without noise leaves in the fifth digit is found with a σ of 1e-4, but not with 0.1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import integer
from base_fast.errors import InputError

FOLDS = 5


def held_out(features: Tensor, targets: Tensor, noise: float, folds: int = FOLDS) -> Tensor:
    """Predictions of each example by a ridge regression with intercept on the other folds.

    Args:
        features: (n, d). Scaled by one number, their root mean square about the mean.
        targets: (n, k).
        noise: σ > 0, in units of that root mean square.
        folds: the i-th example belongs to fold i modulo `folds`; bring examples in random order.

    Returns:
        (n, k) float64.

    Raises:
        InputError: shapes that don't fit, fewer than `folds` examples, or a noise that isn't positive.

    Source: Hoerl & Kennard, "Ridge regression", Technometrics 1970; Bishop, "Training with noise is equivalent to
    Tikhonov regularization", Neural Computation 1995.
    """
    folds = integer("folds", folds, 2)
    if features.dim() != 2 or targets.dim() != 2 or len(features) != len(targets) or len(features) < folds:
        raise InputError(
            f"features, targets: got shapes {tuple(features.shape)}, {tuple(targets.shape)}, expected (n, d), (n, k) "
            f"with n ≥ {folds}"
        )
    if not noise > 0.0:
        raise InputError(f"noise: got {noise}, expected a number > 0")
    features, targets = features.detach().cpu().double(), targets.cpu().double()
    fold = torch.arange(len(features), device="cpu") % folds
    predictions = torch.empty_like(targets)
    for i in range(folds):
        x, y = features[fold != i], targets[fold != i]
        mean, offset = x.mean(dim=0), y.mean(dim=0)
        centred = x - mean
        # Features that never move say nothing, and are no division by zero either.
        scale = centred.square().mean().sqrt().clamp_min(torch.finfo(torch.float64).tiny)
        centred = centred / scale
        gram = centred.T @ centred / len(x) + noise**2 * torch.eye(x.shape[1], dtype=torch.float64, device="cpu")
        weights = torch.linalg.solve(gram, centred.T @ (y - offset) / len(x))
        predictions[fold == i] = (features[fold == i] - mean) / scale @ weights + offset
    return predictions


def probe_accuracies(features: Tensor, classes: Tensor, number: int, noise: float) -> list[float]:
    """For each of k labels, the share of examples whose class has the largest of the probe's one-hot predictions.

    Args:
        features, noise: as of `held_out`.
        classes: (n, k) int64, from 0 to number − 1.
    """
    predictions = held_out(features, F.one_hot(classes, number).flatten(1), noise)
    found = predictions.view(*classes.shape, number).argmax(dim=2)
    accuracies: list[float] = (found == classes).double().mean(dim=0).tolist()
    return accuracies


def majorities(classes: Tensor) -> list[float]:
    """For each of k labels (n, k), the share of the most frequent class: what a probe gets right that sees nothing."""
    return [label.bincount().max().item() / len(classes) for label in classes.T]


def explained(features: Tensor, values: Tensor, noise: float) -> float:
    """R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)² of held-out predictions of values (n,); ≤ 0 where the probe is no better than the
    mean. NaN where all values are equal."""
    y = values.cpu().double()
    predictions = held_out(features, y.unsqueeze(1), noise)[:, 0]
    total = (y - y.mean()).square().sum()
    return float(1.0 - (y - predictions).square().sum() / total) if total > 0.0 else float("nan")
