from __future__ import annotations

import math

import pytest
import torch

from base_fast.errors import InputError
from base_fast.objectives import evidence_quality, normal_scores, rank_correlation, spearman_interval


def test_rank_correlation_by_hand():
    a = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).double()
    assert rank_correlation(a, a.exp()) == pytest.approx((1.0, 1.0))
    assert rank_correlation(a, -a) == pytest.approx((-1.0, -1.0))
    # One of ten pairs is discordant; the squared differences of ranks sum to 2: ρ = 1 − 6·2 / (5·24).
    assert rank_correlation(a, a[[1, 0, 2, 3, 4]]) == pytest.approx((0.8, 0.9))
    # Ties: pairs (1, 2) of a and (3, 4) of b are; of the other four all are concordant: 4 / √(5·5).
    tied = rank_correlation(torch.tensor([1.0, 1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 2.0, 2.0]))
    assert tied.kendall == pytest.approx(0.8)
    assert all(math.isnan(x) for x in rank_correlation(a, torch.ones(5)))
    with pytest.raises(InputError, match=r"b: got shape \(4,\), expected \(5,\)"):
        rank_correlation(a, a[:4])
    with pytest.raises(InputError, match="1 NaN"):
        rank_correlation(a, torch.tensor([1.0, math.nan, 2.0, 3.0, 4.0]))


def test_rank_correlation_is_scipys():
    stats = pytest.importorskip("scipy.stats", reason="the independent formulation is scipy's")
    draws = torch.Generator().manual_seed(0)
    for levels in (5, 1000):
        a, b = torch.randint(levels, (2, 60), generator=draws).double()
        b = a + b
        found = rank_correlation(a, b)
        assert found.kendall == pytest.approx(stats.kendalltau(a, b).statistic)
        assert found.spearman == pytest.approx(stats.spearmanr(a, b).statistic)


def test_the_interval_of_spearmans_rho_is_the_bootstraps():
    draws = torch.Generator().manual_seed(1)
    a = torch.randint(6, (40,), generator=draws).double()  # ties
    b = a + 3.0 * torch.randn(40, generator=draws).double()
    resamples = torch.randint(40, (50, 40), generator=torch.Generator().manual_seed(0))
    each = torch.tensor([rank_correlation(a[i], b[i]).spearman for i in resamples]).double()
    expected = each.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    assert spearman_interval(a, b, resamples=50) == pytest.approx(expected)
    low, high = spearman_interval(a, b)
    assert low < rank_correlation(a, b).spearman < high
    assert spearman_interval(a, a.exp()) == pytest.approx((1.0, 1.0))
    assert all(math.isnan(x) for x in spearman_interval(a, torch.ones(40)))
    with pytest.raises(InputError, match=r"b: got shape \(3,\), expected \(40,\)"):
        spearman_interval(a, b[:3])


def test_quality_over_all_and_in_the_better_half():
    truth = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0])
    # Right about which are good, wrong about which is best.
    evidence = torch.tensor([3.0, 1.0, 4.0, 2.0, 5.0])
    found = evidence_quality(evidence, truth)
    assert found.all == rank_correlation(evidence, truth)
    assert found.better_half == pytest.approx((-1.0, -1.0))


def test_normal_scores():
    values = torch.tensor([0.3, -2.0, math.inf, 0.3, 7.0])
    expected = [torch.special.ndtri(torch.tensor((r - 0.375) / 5.25).double()).item() for r in (2.5, 1, 5, 2.5, 4)]
    scores = normal_scores(values)
    assert scores.dtype == torch.float64 and scores.tolist() == pytest.approx(expected)
    assert normal_scores(torch.tensor([4.0])).tolist() == [0.0]
    assert normal_scores(torch.ones(4)).tolist() == [0.0] * 4
    assert torch.allclose(normal_scores(-values), -scores)
    with pytest.raises(InputError, match=r"shape \(2, 2\)"):
        normal_scores(torch.ones(2, 2))
