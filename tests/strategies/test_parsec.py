"""PARSEC on a supernet: what moves what, memory, resumption, and what it leaves for others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from base_fast import Supernet, adapt
from base_fast.distributions import IndependentEdges
from base_fast.errors import Diverged, InputError
from base_fast.meta import AdaptConfig, Budget, InnerConfig, StepRule
from base_fast.objectives import SharedWeights
from base_fast.posterior import Posterior
from base_fast.random import fold_in, key
from base_fast.runs import Clock, RunFolder
from base_fast.space import NAS_BENCH_201, decode, kept
from base_fast.strategies import BaseSearch, Parsec, ParsecSearch, SharedTrainingConfig, search, write_search
from base_fast.strategies.likelihood_weights import likelihood_weights
from base_fast.strategies.parsec import Children
from benchmarks.memory import extra_bytes
from benchmarks.parsec import MIXTURE, ONE, PARSEC, Sizes
from benchmarks.parsec import step as benchmark_step
from tests.meta import toys
from tests.strategies.runs import resumed, walk

TASK = toys.task(key(0), train=24, valid=12)
SETTINGS = Parsec(
    SharedTrainingConfig(steps=6, batch_size=8, lr=0.1),
    children=4,
    architecture=StepRule("adam", 0.1, beta1=0.5),
    warm_up=1 / 3,
    evaluate_every=3,
)
ADAPT = AdaptConfig(InnerConfig(z="soft", batch_size=4, head="own"), Budget(steps=2), evaluate_every=1, device="cpu")
SUPERNET = Supernet(NAS_BENCH_201, channels=2, layers=2, num_classes=3, reductions=())


def process(settings: Parsec = SETTINGS, seed: int = 0) -> ParsecSearch:
    prior = SUPERNET.prior(key(9))
    return ParsecSearch(settings, SUPERNET, prior.mu, prior.alpha, TASK, key(seed))


@pytest.fixture(scope="module")
def ran():
    """The process, its states and rows."""
    one = process()
    return one, *walk(one)


def test_a_step_is_one_of_adam_on_pi_and_one_of_sgd_on_the_weights(ran):
    """Against one graph through all children at once."""
    one, states, _ = ran
    before, after = states[3], states[4]
    choices = IndependentEdges(NAS_BENCH_201, before.logits).sample(fold_in(one._child_key, 3), 4)
    paths = F.one_hot(choices, 5).float()

    def log_likelihoods(theta: torch.Tensor, on) -> torch.Tensor:
        x, y = on.train.batch(on.key, 3, 8)
        return -torch.stack([F.cross_entropy(SUPERNET(x, theta, z, True), y, reduction="sum") for z in paths])

    weighed = likelihood_weights(log_likelihoods(before.theta, one.valid).detach(), 0.5)
    logits = before.logits.clone().requires_grad_(True)
    gain = (weighed.weights * IndependentEdges(NAS_BENCH_201, logits).log_prob(choices)).sum()
    first = 0.5 * before.slots[0] - 0.5 * torch.autograd.grad(gain, logits)[0]
    torch.testing.assert_close(after.slots[0], first, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(
        after.logits, before.logits - 0.1 * (first / (1 - 0.5**2)) / (after.slots[1] / (1 - 0.999**2)).sqrt()
    )
    theta = before.theta.clone().requires_grad_(True)
    joint = log_likelihoods(theta, one.training)
    weights = likelihood_weights(joint.detach(), 0.5).weights
    (gradient,) = torch.autograd.grad(-(weights.float() * joint).sum() / 8, theta)
    moved, _ = one.training.move(before.theta, before.momentum, gradient, 3)
    torch.testing.assert_close(after.theta, moved, rtol=1e-4, atol=1e-6)


def test_without_temper_the_weights_follow_the_marginal_likelihood():
    """Of all children of equal probability, Σ w ∇ log p(y | v, α) is the gradient of log Σ_α p(y | v, α) p(α)."""
    one = process(replace(SETTINGS, effective=0.0))
    choices = torch.randint(5, (6, 1, 6), generator=torch.Generator().manual_seed(0)).unique(dim=0)
    children = Children(choices, F.one_hot(choices, 5).float(), torch.arange(len(choices)))
    state = one.start(Clock()).state
    x, y = TASK.train.batch(one.training.key, 0, 8)
    theta = state.theta.clone().requires_grad_(True)
    joint = -torch.stack([F.cross_entropy(SUPERNET(x, theta, z, True), y, reduction="sum") for z in children.paths])
    (exact,) = torch.autograd.grad(torch.logsumexp(joint, dim=0), theta)
    after, _ = one._move_weights(state, children)
    moved, _ = one.training.move(state.theta, state.momentum, -exact / 8, 0)
    torch.testing.assert_close(after.theta, moved, rtol=1e-4, atol=1e-6)


def test_rows_say_how_many_children_counted(ran):
    _, states, rows = ran
    assert [row["children"] for row in rows] == [1, 1, 4, 4, 4, 4]
    assert all("effective" not in row for row in rows[:2])
    assert all(row["effective"] >= 2.0 - 1e-6 and row["temperature"] >= 1.0 for row in rows[2:])
    assert all(row["train_effective"] >= 2.0 - 1e-6 for row in rows[2:])
    assert torch.equal(states[2].logits, states[0].logits), "π stands still while the weights warm up"
    assert not torch.equal(states[2].theta, states[0].theta)
    assert rows[-1]["entropy"] < rows[0]["entropy"]


def test_the_same_child_is_run_once():
    one = process()
    state = one.start(Clock()).state
    sharp = torch.zeros_like(state.logits)
    sharp[..., 1] = 60.0
    step = one.step(state._replace(logits=sharp, step=3), Clock())
    assert step.state.trained == 1 and step.row["effective"] == pytest.approx(4.0)


def test_its_result_is_the_mode(ran):
    one, states, _ = ran
    result = one.result(states[-1])
    distribution = result.distribution
    assert isinstance(distribution, IndependentEdges) and torch.equal(distribution.logits, states[-1].logits)
    assert result.genotype == decode(distribution.mode().numpy(), NAS_BENCH_201)
    judged = SharedWeights(SUPERNET, states[-1].theta, TASK.valid).measure(distribution.mode()[None], key(0)).values[0]
    assert list(result.history[-1]["values"].values()) == judged.tolist()
    assert [row["step"] for row in result.history] == [3, 6]
    assert result.spent["training steps"] == states[-1].trained <= 2 + 4 * 4


@pytest.mark.parametrize("at", [1, 4])
def test_it_resumes_to_the_same_bits(at, tmp_path, ran, monkeypatch):
    one, states, _ = ran
    tensors, _ = resumed(process, SETTINGS, one.result(states[-1]), at, tmp_path, monkeypatch)
    for name in ("theta", "momentum", "logits"):
        assert torch.equal(tensors[name], getattr(states[-1], name)), name


def test_the_number_of_children_follows_the_entropy():
    assert [Parsec().number(entropy) for entropy in (0.0, 9.66, 41.5)] == [4, 4, 11]
    assert Parsec(children_per_nat=1.0).number(9.66) == 10
    assert Parsec(children=16).number(0.0) == 16


def test_a_space_whose_nodes_keep_two_edges():
    net = toys.supernet()
    start = net.prior(key(1))
    found = search(ParsecSearch(replace(SETTINGS, children=None), net, start.mu, start.alpha, TASK, key(0)))
    found.genotype.validate(net.space)
    assert kept(found.distribution.sample(key(2), 5).numpy(), net.space).all()


def test_base_goes_on_from_what_it_leaves(ran, tmp_path):
    one, states, _ = ran
    with RunFolder.create(tmp_path / "r", "search", SETTINGS) as run:
        write_search(run, "parsec", one.result(states[-1]))
        left = Posterior.load(run.path / "posterior.safetensors")
    assert torch.equal(left.mu, states[-1].theta) and torch.equal(left.alpha, states[-1].logits.float())
    assert left.lineage[-1]["strategy"] == "Parsec" and left.lineage[-1]["steps"] == 6
    # Drawn weights compute what the trained ones do.
    drawn = left.mu + left.sigma * torch.randn(left.mu.shape, generator=torch.Generator().manual_seed(0))
    scores = [
        SharedWeights(SUPERNET, w, TASK.valid).measure(left.architecture.mode()[None], key(0)) for w in (left.mu, drawn)
    ]
    assert scores[1].values[0, 1].item() == pytest.approx(scores[0].values[0, 1].item(), abs=0.02)
    adapted = adapt(left, TASK, replace(ADAPT, inner=replace(ADAPT.inner, alpha=StepRule("sgd", 0.0))))
    assert torch.equal(adapted.posterior.alpha, left.alpha)
    assert not torch.equal(adapted.posterior.mu, left.mu)
    assert [event["event"] for event in adapted.posterior.lineage] == ["search", "adapt"]


def test_it_goes_on_from_what_base_leaves():
    prior = toys.prior(toys.supernet(classes=4), dtype=torch.float32)
    left = search(BaseSearch(prior, TASK, ADAPT, 0, "darts")).posterior
    assert left is not None
    for strength in (1.0, 0.5):
        settings = replace(SETTINGS, strength=strength, training=replace(SETTINGS.training, steps=3))
        one = settings.on(left, TASK, 0)
        start = one.start(Clock()).state
        assert torch.equal(start.logits, strength * left.alpha.double())
        body = slice(0, one.supernet.head.start)
        assert torch.equal(start.theta[body], left.mu[body])
    events = [event["event"] for event in search(one).posterior.lineage]
    assert events == ["adapt", "search"]


def test_memory_is_that_of_one_child():
    """What PyTorch allocates: 1.04 of one child here, whatever K is, and 3.1 for a mixture of all primitives."""
    sizes = Sizes(batch=32, channels=4, pixels=16)
    one, few, many, mixture = (extra_bytes(partial(benchmark_step(name, sizes), 0)) for name in (ONE, *PARSEC, MIXTURE))
    assert many == pytest.approx(few, rel=0.01) and many <= 1.1 * one and mixture > 2 * one


def test_what_goes_wrong_is_said():
    for wrong in (
        {"children": 0},
        {"children": 1},
        {"fewest": 0},
        {"evaluate_every": 0},
        {"images": 0},
        {"children_per_nat": -1.0},
        {"strength": -1.0},
        {"effective": 1.5},
        {"warm_up": 1.0},
        {"architecture": StepRule("natural")},
    ):
        with pytest.raises(InputError, match=f"^{next(iter(wrong))}.*: got"):
            Parsec(**wrong)
    hollow = Supernet(NAS_BENCH_201, channels=2, layers=2, num_classes=3)
    with pytest.raises(InputError, match="all of them reductions"):
        SETTINGS.on(hollow.prior(key(0)), TASK, 0)
    wild = replace(SETTINGS, training=replace(SETTINGS.training, lr=1e30, clip=0.0))
    with pytest.raises(Diverged):
        search(process(wild))
