"""PC-DARTS: what its edges weigh, what it derives, and DARTS as its special case."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from base_fast import Supernet
from base_fast.errors import InputError
from base_fast.meta import StepRule
from base_fast.random import key
from base_fast.runs import Clock
from base_fast.space import DARTS, NAS_BENCH_201
from base_fast.strategies import Darts, PcDarts, SearchConfig, SearchSettings, SharedTrainingConfig, open_search, search
from base_fast.strategies.config import ObjectiveConfig
from base_fast.strategies.projection import ProjectedSearch, Projection
from base_fast.supernet import SupernetConfig
from tests.meta import toys

TASK = toys.task(key(0), train=24, valid=12)
SPACE = replace(DARTS.with_nodes(2), name="small", primitives=("skip_connect", "none", "avg_pool_3x3", "dil_conv_3x3"))
TRAINING = SharedTrainingConfig(4, 8, 0.1, 0.0)
SETTINGS = PcDarts(TRAINING, StepRule("adam", 0.05, beta1=0.5), warm_up=0.25, evaluate_every=2, images=9, partial=2)


def supernet(partial: int = 2) -> Supernet:
    return Supernet(SPACE, channels=4, layers=2, num_classes=3, reductions=(1,), partial=partial)


def variables(seed: int = 0) -> tuple[torch.Tensor, ...]:
    draws = torch.Generator().manual_seed(seed)
    shapes = ((2, SPACE.num_edges, SPACE.num_primitives), (2, 2), (2, 3))
    return tuple(torch.randn(shape, generator=draws, dtype=torch.float64) for shape in shapes)


def by_the_source(alpha: np.ndarray, betas: list[np.ndarray]) -> list[tuple[str, int]]:
    """One cell as the published code parses it: α·β, the two edges with the largest entries, `none` left out."""
    found, start = [], 0
    for beta in betas:
        n = len(beta)
        weights = alpha[start : start + n] * beta[:, None]
        start += n
        allowed = [i for i, name in enumerate(SPACE.primitives) if name != "none"]
        edges = sorted(range(n), key=lambda j, w=weights: -max(w[j][i] for i in allowed))[:2]  # type: ignore[misc]
        for j in edges:
            best = max(allowed, key=lambda i, row=weights[j]: row[i])  # type: ignore[misc]
            found.append((SPACE.primitives[best], j))
    return found


def test_edges_weigh_what_beta_says() -> None:
    own = variables()
    z = SETTINGS.z(own, key(0), 0.0)
    assert z.shape == own[0].shape
    sums = z.sum(-1)
    for edges, beta in ((slice(0, 2), own[1]), (slice(2, 5), own[2])):
        torch.testing.assert_close(sums[:, edges], beta.softmax(-1))
        torch.testing.assert_close(z[:, edges], own[0][:, edges].softmax(-1) * beta.softmax(-1).unsqueeze(-1))
    assert torch.equal(SETTINGS.mean(SPACE, own), z)


def test_the_genotype_is_that_of_the_source() -> None:
    found = set()
    for seed in range(30):
        own = variables(seed)
        genotype = SETTINGS.genotype(SPACE, own)
        for t, pairs in enumerate((genotype.normal, genotype.reduce)):
            alpha, *betas = (x[t].softmax(-1).numpy() for x in own)
            assert list(pairs) == by_the_source(alpha, betas)
        found.add(genotype == SETTINGS.genotype(SPACE, own[:1]))
    assert False in found  # β decides some


def test_the_distribution_counts_what_an_edge_lacks_as_absent() -> None:
    own = variables()
    z, pi = SETTINGS.z(own, key(0), 0.0), SETTINGS.logits(SPACE, own).exp()
    torch.testing.assert_close(pi.sum(-1), torch.ones_like(pi[..., 0]))
    torch.testing.assert_close(pi[..., [0, 2, 3]], z[..., [0, 2, 3]])
    extreme = (1e4 * own[0], *own[1:])
    assert SETTINGS.logits(SPACE, extreme)[..., 1].isfinite().all()
    # Where all edges are kept, none competes.
    alpha = torch.randn(1, 6, 5)
    assert torch.equal(SETTINGS.logits(NAS_BENCH_201, (alpha, torch.ones(1, 1))), alpha)


def test_a_search() -> None:
    one = SETTINGS.on(toys.prior(supernet()), TASK, 0)
    state = one.start(Clock()).state
    first = state.variables
    assert [tuple(x.shape) for x in first] == [(2, 5, 4), (2, 2), (2, 3)]
    states = []
    for _ in range(4):
        state = one.step(state, Clock()).state
        states.append(state)
    assert all(torch.equal(a, b) for a, b in zip(states[0].variables, first, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(states[1].variables, first, strict=True))
    result = one.result(state)
    assert result.genotype == SETTINGS.genotype(SPACE, state.variables)
    result.genotype.validate(SPACE)
    # And from a checkpoint on.
    tensors, header = one.pack(states[1])
    again = one.unpack(tensors, header)
    for _ in range(2):
        again = one.step(again, Clock()).state
    assert torch.equal(again.theta, state.theta)
    assert all(torch.equal(a, b) for a, b in zip(again.variables, state.variables, strict=True))


def test_an_edge_that_is_decided_keeps_its_weight() -> None:
    settings = replace(SETTINGS, projection=Projection(tuning=0, images=9))
    one = settings.on(toys.prior(supernet()), TASK, 0)
    assert isinstance(one, ProjectedSearch)
    state = one.start(Clock()).state
    for _ in range(one.total):
        state = one.step(state, Clock()).state
    assert state.projected is not None
    z, chosen = one.z(state), state.projected.chosen
    mixed = settings.mean(SPACE, state.searched.variables)
    kept = (chosen >= 0).to(z)
    assert kept.sum() == 8  # two edges of each of two nodes, in both cell types
    assert torch.equal(z.sum(-1), kept * mixed.sum(-1))
    one.result(state).genotype.validate(SPACE)


def test_one_part_without_weights_of_edges_is_darts_to_the_bit() -> None:
    prior = toys.prior(supernet(1))
    shared = (TRAINING, SETTINGS.architecture, 1e-3, 0.25, 2, 9)
    found = search(PcDarts(*shared, partial=1, edge_normalization=False).on(prior, TASK, 3))
    expected = search(Darts(*shared).on(prior, TASK, 3))
    assert found.history == expected.history and found.genotype == expected.genotype
    assert torch.equal(found.distribution.tensors()["logits"], expected.distribution.tensors()["logits"])


def test_it_asks_for_its_own_supernet() -> None:
    config = SupernetConfig("nas_bench_201", channels=4, layers=3, num_classes=3, reductions=(1,))
    assert SETTINGS.supernet(config).partial == 2
    assert PcDarts().partial == 4 and PcDarts().supernet(replace(config, partial=4)).partial == 4
    with pytest.raises(InputError, match=r"^supernet.partial: got 4, expected 2 as in pc_darts.partial, or 1"):
        SETTINGS.supernet(replace(config, partial=4))
    with pytest.raises(InputError, match="^partial: got 3, expected a divisor of channels = 4"):
        replace(SETTINGS, partial=3).supernet(config)
    with pytest.raises(InputError, match="^partial: got 0"):
        replace(SETTINGS, partial=0)
    with pytest.raises(InputError, match="^posterior: got one of .*partial=1.*, expected .*partial=2"):
        SETTINGS.on(toys.prior(supernet(1)), TASK, 0)
    settings = SearchSettings(
        SearchConfig(strategy="pc_darts", pc_darts=SETTINGS), ObjectiveConfig(("shared_weights",)), config
    )
    opened = open_search(settings, TASK)
    assert opened.supernet.config.partial == 2  # type: ignore[attr-defined]
    search(opened)
