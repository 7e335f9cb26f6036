"""What samples of a prediction say of its uncertainty."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.nn.bayesian_model import sampled
from base_fast.random import fold_in


@torch.no_grad()
def predictions(model: nn.Module, x: Tensor, key: Tensor, samples: int) -> Tensor:
    """Class probabilities by several draws of a model's weights, in the mode that it is in.

    Args:
        model: maps x to logits (B, C), and has Bayesian layers.
        x: a batch.
        key: int64 (2,); sample i is the draw of `fold_in(key, i)`.
        samples: S ≥ 1.

    Returns:
        (S, B, C). Their mean over S is the prediction.

    Raises:
        InputError: the model has no Bayesian layer, or gives no logits (B, C).
    """
    found = []
    for i in range(integer("samples", samples, 1)):
        with sampled(model, fold_in(key, i)):
            logits = model(x)
        if not isinstance(logits, Tensor) or logits.dim() != 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(f"model: got an output of {got}, expected logits (B, C)")
        found.append(logits.float().softmax(-1))
    return torch.stack(found)


def predictive_entropy(probabilities: Tensor) -> Tensor:
    """Entropy of the mean prediction in nats: all uncertainty, of the data and of the weights.

    Args:
        probabilities: (S, ..., C), S samples of a distribution over C classes.

    Returns:
        (...), from 0 to log C.
    """
    return _entropy(_checked(probabilities).mean(0))


def mutual_information(probabilities: Tensor) -> Tensor:
    """Of prediction and weights, in nats: what the weights leave open, and more data settles (Houlsby et al. 2011).

    The entropy of the mean prediction less the mean entropy of the predictions.

    Args:
        probabilities: (S, ..., C), S samples of a distribution over C classes.

    Returns:
        (...), from 0 to log C; 0 where all samples agree.
    """
    p = _checked(probabilities)
    return (_entropy(p.mean(0)) - _entropy(p).mean(0)).clamp_min(0.0)


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Tensor:
    """How far confidence is from accuracy: Σ_b n_b/N·|accuracy_b − confidence_b| over equal bins of the confidence.

    The confidence of a prediction is its largest probability; a bin holds its upper edge (Guo et al. 2017).

    Args:
        probabilities: (N, C); of samples, their mean.
        labels: (N,) class numbers.
        bins: M ≥ 1.

    Returns:
        A scalar from 0 to 1.

    Raises:
        InputError: for shapes that do not fit, or no distributions.
    """
    p = _checked(probabilities)
    if p.dim() != 2 or labels.shape != p.shape[:1] or len(p) == 0:
        raise InputError(
            f"labels: got shape {tuple(labels.shape)} beside probabilities {tuple(p.shape)}, expected (N,) and (N, C)"
        )
    confidence, predicted = p.max(-1)
    right = (predicted == labels.to(p.device)).to(p.dtype)
    place = (confidence * integer("bins", bins, 1)).ceil().long().clamp(1, bins) - 1
    gaps = p.new_zeros(bins).index_add(0, place, right - confidence)
    return gaps.abs().sum() / len(p)


def _checked(p: Tensor) -> Tensor:
    p = p.double()
    if p.dim() < 2 or not bool(((p >= 0).all() & ((p.sum(-1) - 1).abs() < 1e-2).all()).item()):
        raise InputError(
            "probabilities: got numbers that are no distributions over the last axis; use softmax on logits"
        )
    return p


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)
