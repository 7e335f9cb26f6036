"""What a policy is worth for an image: right, and within the window of costs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Window(NamedTuple):
    """Costs from `lower` to `upper` are rewarded."""

    lower: float
    upper: float

    def score(self, costs: Tensor) -> Tensor:
        """max(0, −(c − lower)(c − upper) / ((upper − lower)/2)²): 0 at both ends, 1 in the middle."""
        half = (self.upper - self.lower) / 2.0
        return (-(costs - self.lower) * (costs - self.upper) / half**2).clamp(min=0.0)


def reward(right: Tensor, costs: Tensor, window: Window, positive: float, negative: float) -> Tensor:
    """(B,): `positive`·score for an image that is classified right (bool), else `negative`.

    Source: Cheng et al., InstaNAS, AAAI 2020.
    """
    return torch.where(right, positive * window.score(costs), negative)


def self_critical_loss(probabilities: Tensor, drawn: Tensor, advantage: Tensor) -> Tensor:
    """−log q(u)·(R(u) − R(û)), mean over images: û, the most probable policy, is the baseline.

    Args:
        probabilities: (B, L, A), of taking a block.
        drawn: bool (B, L, A), u.
        advantage: (B,), which has no gradient.

    Source: Rennie et al., "Self-critical Sequence Training for Image Captioning", CVPR 2017.
    """
    log_q = torch.where(drawn, probabilities, 1.0 - probabilities).log().sum(dim=(1, 2))
    return -(log_q * advantage.detach()).mean()
