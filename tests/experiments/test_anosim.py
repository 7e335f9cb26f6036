"""ANOSIM by hand, and its p where groups mean nothing."""

from __future__ import annotations

import pytest
import torch

from base_fast.errors import InputError
from base_fast.experiments.anosim import anosim
from base_fast.random import fold_in, key


def distances(points: torch.Tensor) -> torch.Tensor:
    return (points.unsqueeze(0) - points.unsqueeze(1)).abs()


def test_r_by_hand():
    # Within: pairs 01 and 23, distances 1 and 5, ranks 1 and 4; between 02: 4, 03: 9, 12: 3, 13: 8, ranks 3, 6, 2, 5.
    found = anosim(distances(torch.tensor([0.0, 1.0, 4.0, 9.0])), torch.tensor([0, 0, 1, 1]), key(0), 99)
    assert found.within == 3.0 and found.between == 6.0
    assert found.r == pytest.approx((16 / 4 - 5 / 2) / 3)
    # Of the three ways to pair four things, one is at least as good: 1/3 of all permutations.
    assert 0.2 < found.p < 0.5
    far = anosim(distances(torch.tensor([0.0, 1.0, 50.0, 52.0])), torch.tensor([0, 0, 1, 1]), key(0), 99)
    assert far.r == pytest.approx(((3 + 4 + 5 + 6) / 4 - (1 + 2) / 2) / 3) == pytest.approx(1.0)


def test_p_is_small_where_groups_differ_and_uniform_where_they_do_not():
    draws = torch.Generator().manual_seed(0)
    groups = torch.arange(3).repeat_interleave(8)
    apart = anosim(distances(torch.randn(24, generator=draws) + 6.0 * groups), groups, key(1), 199)
    assert apart.r > 0.9 and apart.p == 1 / 200
    found = [anosim(distances(torch.randn(24, generator=draws)), groups, fold_in(key(2), i), 99) for i in range(60)]
    assert abs(sum(one.r for one in found)) / 60 < 0.05
    below = sum(one.p <= 0.2 for one in found)
    assert 4 <= below <= 21  # 12 ± 3 standard deviations of a binomial share
    again = anosim(distances(torch.arange(24.0)), groups, key(3), 50)
    assert again == anosim(distances(torch.arange(24.0)), groups, key(3), 50)


def test_equal_distances_say_nothing():
    found = anosim(torch.ones(6, 6), torch.tensor([0, 0, 0, 1, 1, 1]), key(0), 20)
    assert found.r == 0.0 and found.p == 1.0


def test_refusals():
    with pytest.raises(InputError, match=r"distances: got shape \(3, 3\), expected \(2, 2\)"):
        anosim(torch.ones(3, 3), torch.tensor([0, 1]), key(0))
    with pytest.raises(InputError, match="groups: got 1 groups of 3 things"):
        anosim(torch.ones(3, 3), torch.tensor([0, 0, 0]), key(0))
    with pytest.raises(InputError, match="groups: got 3 groups of 3 things"):
        anosim(torch.ones(3, 3), torch.tensor([0, 1, 2]), key(0))
    with pytest.raises(InputError, match="permutations: got 0"):
        anosim(torch.ones(2, 2), torch.tensor([0, 1]), key(0), 0)
