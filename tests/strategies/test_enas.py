"""The controller's policy gradient, by enumeration and against torch's Adam, and its search on a table."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from base_fast.distributions import Controller, IndependentEdges, save_distribution
from base_fast.errors import InputError
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, Stack
from base_fast.strategies import AskTellSearch, Enas, PolicyGradient, RandomSearch, search
from base_fast.strategies.policy_gradient import MovingMean
from tests.objectives import toys

TWO_EDGES = Stack("two_edges", ("a", "b", "c"), 2)
ALL = torch.tensor(list(itertools.product(range(3), repeat=2))).unsqueeze(1)
WORTH = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0], dtype=torch.float64)


@pytest.mark.parametrize("entropy", [0.0, 0.7])
def test_the_gradient_is_that_of_reward_and_entropy_in_expectation(entropy):
    """Over all genotypes of two edges; the baseline's own share of R scales all advantages alike."""
    policy = PolicyGradient(decay=0.8, entropy=entropy, hidden=5)
    fresh = policy.start(TWO_EDGES, key(0)).weights
    weights = (20.0 * fresh).requires_grad_(True)
    log_p = policy.distribution(TWO_EDGES, weights).log_prob(ALL)
    p = log_p.exp()
    (exact,) = torch.autograd.grad((p * (WORTH - entropy * log_p)).sum(), weights, retain_graph=True)
    before = MovingMean().after(2.0, 0.8).after(7.0, 0.8)
    advantages = torch.cat(
        [policy.advantages(before, log_p.detach()[i : i + 1], WORTH[i : i + 1])[0] for i in range(9)]
    )
    (estimate,) = torch.autograd.grad((p.detach() * advantages * log_p).sum(), weights)
    scale = 0.8 * before.weight / (0.8 * before.weight + 0.2)
    torch.testing.assert_close(estimate, scale * exact, rtol=1e-9, atol=1e-12)
    assert exact.abs().max() > 1e-3


def test_updates_are_adams():
    policy = PolicyGradient(lr=0.02, beta1=0.3, decay=0.8, entropy=0.1, aggregate=3, hidden=4)
    state = policy.start(TWO_EDGES, key(1))
    weights = state.weights.clone().requires_grad_(True)
    adam = torch.optim.Adam([weights], lr=0.02, betas=(0.3, 0.999))
    seen: list[float] = []
    for i in range(4):
        choices = policy.distribution(TWO_EDGES, state.weights).sample(key(i), 3)
        # So large that no gradient is as small as Adam's epsilon, which stands inside the root here.
        rewards = 1e6 * WORTH[3 * choices[:, 0, 0] + choices[:, 0, 1]]
        loss = torch.zeros((), dtype=torch.float64)
        for one, reward in zip(choices, rewards, strict=True):
            score = Controller(TWO_EDGES, weights, 4).log_prob(one.unsqueeze(0))[0]
            seen.append((reward - 0.1 * score).item())
            decayed = torch.tensor([0.8**j for j in reversed(range(len(seen)))], dtype=torch.float64)
            loss -= score * (seen[-1] - (decayed * torch.tensor(seen, dtype=torch.float64)).sum() / decayed.sum()) / 3
        adam.zero_grad()
        loss.backward()
        adam.step()
        state = policy.update(TWO_EDGES, state, choices, rewards)
        torch.testing.assert_close(state.weights, weights.detach(), rtol=1e-4, atol=1e-6)


def test_it_learns_what_is_good():
    table = toys.table()
    found = search(AskTellSearch(Enas(), table, 150, key(0)))
    random = search(AskTellSearch(RandomSearch(), table, 150, key(0)))
    late, early = ([row["values"]["valid"] for row in one.history[-40:]] for one in (found, random))
    assert sum(late) / 40 > sum(early) / 40 + 4.0
    assert isinstance(found.distribution, Controller) and found.distribution.entropy() < 8.0


def test_a_search_goes_on_from_a_saved_controller(tmp_path):
    path, policy = tmp_path / "distribution.safetensors", PolicyGradient(hidden=8)
    trained = policy.distribution(NAS_BENCH_201, 9.0 * policy.start(NAS_BENCH_201, key(3)).weights)
    save_distribution(path, trained)
    on = replace(policy, controller=path)
    assert torch.equal(on.start(NAS_BENCH_201, key(0)).weights, trained.weights)
    with pytest.raises(InputError, match=r"draws genotypes of 'nas_bench_201', expected 'darts'; search that space"):
        on.start(DARTS, key(0))
    with pytest.raises(InputError, match=r"has hidden = 8, .*, expected hidden = 16, .* as in the settings"):
        replace(on, hidden=16).start(NAS_BENCH_201, key(0))
    save_distribution(path, IndependentEdges.uniform(NAS_BENCH_201))
    with pytest.raises(InputError, match="'independent_edges', expected a controller"):
        on.start(NAS_BENCH_201, key(0))


@pytest.mark.parametrize(
    "wrong",
    [{"lr": 0.0}, {"aggregate": 0}, {"hidden": 0}, {"decay": 1.0}, {"beta1": -0.1}, {"entropy": -1.0}, {"bound": 0.0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_bad_settings(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        PolicyGradient(**wrong)
