"""A posterior of a small supernet with values that no two entries share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from base_fast.posterior import Layout, Posterior
from base_fast.space import DARTS, Space

LAYOUT = Layout.of({"stem.weight": (4, 3, 3, 3), "classifier.weight": (10, 4), "classifier.bias": (10,)})


@pytest.fixture
def make() -> Callable[..., Posterior]:
    def make(dtype: torch.dtype = torch.float32, space: Space = DARTS) -> Posterior:
        generator = torch.Generator().manual_seed(0)
        shapes = [
            (LAYOUT.numel,),
            (LAYOUT.numel,),
            (len(space.cell_types), space.num_edges, space.num_primitives),
        ]
        mu, rho, alpha = (torch.randn(s, dtype=torch.float64, generator=generator).to(dtype) for s in shapes)
        config = {"space": space.name, "channels": 4, "stems": ["32"], "reductions": None}
        return Posterior(mu, rho, alpha, LAYOUT, space, config, ({"event": "meta", "steps": 3},))

    return make
