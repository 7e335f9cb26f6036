"""The logarithmic pool is what minimizes Σ w KL(q ‖ p), and gaps are what definitions say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from base_fast.errors import InputError
from base_fast.posterior import Posterior, gaps, inverse_softplus, merge
from base_fast.posterior.layout import Layout
from base_fast.space import NAS_BENCH_201


@pytest.fixture
def three(make) -> list[Posterior]:
    """Three posteriors in float64 that differ everywhere; two began with the same event."""
    found = []
    for i in range(3):
        draws = torch.Generator().manual_seed(i)
        x = make(torch.float64)
        values = [torch.randn(t.shape, dtype=torch.float64, generator=draws) for t in (x.mu, x.rho, x.alpha)]
        found.append(x.evolve(values, {"event": "meta-train", "seed": i, "agreement": float(i)}))
    return found


def divergence(q: Posterior, p: Posterior) -> torch.Tensor:
    """KL(q ‖ p), of all weights and edges, by torch.distributions."""
    theta = kl_divergence(Normal(q.mu, q.sigma), Normal(p.mu, p.sigma)).sum()
    return theta + kl_divergence(Categorical(logits=q.alpha), Categorical(logits=p.alpha)).sum()


def test_the_merged_posterior_is_the_closest_to_all(three):
    weights = [0.5, 0.3, 0.2]
    merged = merge(three, weights)
    values = [x.clone().requires_grad_(True) for x in (merged.mu, merged.rho, merged.alpha)]
    free = replace(merged, mu=values[0], rho=values[1], alpha=values[2])
    total = sum(w * divergence(free, p) for w, p in zip(weights, three, strict=True))
    # At the minimum the gradient is zero: 1e-13 is what float64 leaves of numbers of order 1.
    assert all(g.abs().max() < 1e-12 for g in torch.autograd.grad(total, values))


def test_formulas_on_one_weight_and_one_edge(three):
    p, q = three[:2]
    merged = merge([p, q], [3.0, 1.0])
    a, b = 0.75 / p.sigma[0] ** 2, 0.25 / q.sigma[0] ** 2
    assert torch.allclose(merged.mu[0], (a * p.mu[0] + b * q.mu[0]) / (a + b))
    assert torch.allclose(merged.sigma[0] ** -2, a + b)
    product = p.probabilities[0, 0] ** 0.75 * q.probabilities[0, 0] ** 0.25
    assert torch.allclose(merged.probabilities[0, 0], product / product.sum())


def test_order_and_scale_of_weights_do_not_matter(three):
    one, other = merge(three, [1, 2, 3]), merge(three[::-1], [6, 4, 2])
    for x, y in ((one.mu, other.mu), (one.rho, other.rho), (one.probabilities, other.probabilities)):
        assert torch.allclose(x, y, rtol=1e-12, atol=1e-12)
    same = merge([three[0], three[0]])
    assert torch.allclose(same.mu, three[0].mu) and torch.allclose(same.probabilities, three[0].probabilities)


def test_small_deviations_and_float32_survive(make):
    x = make()
    narrow = replace(x, rho=inverse_softplus(torch.full_like(x.rho, 1e-6)))
    merged = merge([narrow, replace(narrow, mu=narrow.mu + 1)])
    assert merged.mu.dtype == torch.float32
    assert torch.allclose(merged.sigma, torch.full_like(merged.sigma, 1e-6), rtol=1e-5)
    assert torch.allclose(merged.mu, x.mu + 0.5)


def test_the_lineage_is_kept(three, tmp_path):
    merged = merge(three, [2, 1, 1])
    assert merged.lineage[0] == {"event": "meta", "steps": 3}
    (event,) = merged.lineage[1:]
    assert (event["event"], event["weights"], event["agreement"]) == ("merge", [0.5, 0.25, 0.25], 0.75)
    assert [own[0]["seed"] for own in event["merged"]] == [0, 1, 2]
    merged.save(tmp_path / "merged.safetensors")
    assert Posterior.load(tmp_path / "merged.safetensors").lineage == merged.lineage
    again = merge([merged, three[0]])
    assert again.lineage[:1] == merged.lineage[:1] and len(again.lineage) == 2


def test_gaps(three):
    found = gaps(three)
    assert [(gap.first, gap.second) for gap in found] == [(0, 1), (0, 2), (1, 2)]
    p, q, gap = three[0], three[2], found[1]
    theta = [(Normal(x.mu, x.sigma), Normal(y.mu, y.sigma)) for x, y in ((p, q), (q, p))]
    kl = sum(kl_divergence(*pair) for pair in theta)
    assert gap.kl_theta["stem"] == pytest.approx(kl[:108].mean().item(), rel=1e-12)
    assert gap.kl_theta["classifier"] == pytest.approx(kl[108:].mean().item(), rel=1e-12)
    assert gap.kl_theta["all weights"] == pytest.approx(kl.mean().item(), rel=1e-12)
    assert gap.cosine["stem"] == pytest.approx(torch.cosine_similarity(p.mu[:108], q.mu[:108], dim=0).item())
    edges = [kl_divergence(Categorical(logits=x.alpha), Categorical(logits=y.alpha)) for x, y in ((p, q), (q, p))]
    variation = 0.5 * (p.probabilities - q.probabilities).abs().sum(-1)
    for i, cell in enumerate(p.space.cell_types):
        assert gap.kl_z[cell] == pytest.approx(sum(edges)[i].mean().item(), rel=1e-12)
        assert gap.total_variation[cell] == pytest.approx(variation[i].mean().item())
        assert gap.furthest[cell] == pytest.approx(variation[i].max().item())
    (none,) = gaps([p, p])
    assert none.kl_theta["all weights"] == none.kl_z["normal"] == none.total_variation["normal"] == 0.0
    assert none.cosine["stem"] == pytest.approx(1.0)


def test_what_does_not_fit(three, make):
    p = three[0]
    with pytest.raises(InputError, match="posteriors: got 1, expected two or more"):
        merge([p])
    for weights in ([1.0], [1.0, 0.0], [1.0, float("nan")]):
        with pytest.raises(InputError, match="weights: got .*, expected 2 numbers > 0"):
            merge([p, p], weights)
    with pytest.raises(InputError, match="posterior 2: its space is 'nas_bench_201'"):
        merge([p, make(torch.float64, NAS_BENCH_201)])
    layout = Layout.of({"stem.weight": (4, 3, 3, 3), "classifier.weight": (5, 10)})
    with pytest.raises(InputError, match="posterior 2: its weights differ from the first's: classifier.weight has"):
        merge([p, replace(p, layout=layout)])
    with pytest.raises(InputError, match="posterior 2: its supernet has channels = 8, expected 4 as the first's"):
        gaps([p, replace(p, config={**p.config, "channels": 8})])
