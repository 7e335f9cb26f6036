"""The controller: a small network that looks at an image and says which blocks to take."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from base_fast.errors import InputError


class Controller(nn.Module):
    """x (B, 3, R, R) → logits (B, L, A): independent Bernoullis, one for each block of each layer.

    A residual network of one block a stage on half the resolution; it must be cheap, for every image pays for it.

    Args:
        shape: (L, A).
        channels: of its stages, each of which but the first halves the sides.

    Source: Cheng et al., "InstaNAS", AAAI 2020, whose controller is a ResNet of three such stages.
    """

    def __init__(self, shape: tuple[int, int], channels: tuple[int, ...]) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise InputError(f"channels: got {channels}, expected at least one stage of at least one channel")
        self.shape = shape
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels[0], 3, 2, 1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()
        )
        before = (channels[0], *channels)
        self.stages = nn.ModuleList(
            _Residual(inputs, outputs, stride=1 if i == 0 else 2)
            for i, (inputs, outputs) in enumerate(zip(before, channels, strict=False))
        )
        self.choice = nn.Linear(channels[-1], shape[0] * shape[1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.choice(x.mean(dim=(2, 3)))
        return logits.view(len(x), *self.shape)


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.path(x) + self.skip(x))


def entropy(logits: Tensor) -> Tensor:
    """Of independent Bernoullis, in nats: −p log p − (1 − p) log(1 − p). The source leaves the second half out."""
    p = torch.sigmoid(logits)
    return p * nn.functional.softplus(-logits) + (1.0 - p) * nn.functional.softplus(logits)


def explored(logits: Tensor, certainty: float) -> Tensor:
    """Probabilities from which policies are drawn while learning: α·p + (1 − α)·(1 − p)."""
    p = torch.sigmoid(logits)
    return certainty * p + (1.0 - certainty) * (1.0 - p)
