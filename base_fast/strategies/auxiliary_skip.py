"""An auxiliary skip connection, so that the candidate one need not keep the supernet trainable."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.space import Space
from base_fast.space.space import SKIP


@dataclass(frozen=True)
class AuxiliarySkip:
    """DARTS-: every edge adds β times a skip connection to its mixture; β falls linearly to 0 over the search.

    It is the edge's own skip connection that runs: its weight in z is larger by β, and α sees the mixture's share of it
    alone. Where an edge halves the resolution, the two thus share their convolutions.

    Source: Chu, Wang, Zhang, Lu, Wei, Yan, "DARTS-: Robustly Stepping out of Performance Collapse Without Indicators",
    ICLR 2021 (β from 1).
    """

    beta: float = 1.0
    """β at the start of the search."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.beta < math.inf:
            raise InputError(f"beta: got {self.beta!r}, expected a finite number ≥ 0")

    def added(self, z: Tensor, space: Space, progress: float) -> Tensor:
        """z (T, E, L) with β after a share `progress` of the search on every edge's skip connection.

        Raises:
            InputError: the space has no skip connection.
        """
        if SKIP not in space.primitives:
            raise InputError(f"auxiliary_skip: {space.name} has no primitive {SKIP}")
        more = torch.zeros_like(z)
        more[..., space.primitives.index(SKIP)] = self.beta * (1.0 - progress)
        return z + more
