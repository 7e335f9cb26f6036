"""Images too small for batch statistics."""

from __future__ import annotations

import pytest
import torch

from base_fast.errors import InputError
from base_fast.random import key
from base_fast.supernet import Supernet


@pytest.mark.parametrize("space", ["darts", "nas_bench_201"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_one_value_per_channel_is_refused_in_one_line(space: str, size: int) -> None:
    """A single image whose map shrinks to one pixel, in the stem or in any block."""
    supernet = Supernet(space, 2, 8, 3)
    prior = supernet.prior(key(0))
    with pytest.raises(InputError, match="got .*expected more") as refused:
        supernet(torch.randn(1, 3, size, size), prior.mu, prior.probabilities)
    assert "\n" not in str(refused.value)
