from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from base_fast import Supernet
from base_fast.distributions import Controller, save_distribution
from base_fast.errors import Diverged, InputError
from base_fast.objectives import SharedWeights
from base_fast.random import fold_in, key
from base_fast.runs import Clock
from base_fast.space import NAS_BENCH_201, decode, kept
from base_fast.strategies import EnasSharing, EnasSharingSearch, PolicyGradient, SharedTrainingConfig, search
from tests.meta import toys
from tests.meta.toys import task
from tests.strategies.runs import resumed, walk

TASK = task(key(0), train=24, valid=12)
SETTINGS = EnasSharing(
    SharedTrainingConfig(steps=7, batch_size=8, lr=0.1),
    PolicyGradient(lr=0.05, aggregate=2, hidden=6),
    phases=3,
    updates=2,
    reward_images=6,
    candidates=4,
)
SUPERNET = Supernet(NAS_BENCH_201, channels=4, layers=5, num_classes=3)


def process(settings=SETTINGS, seed=0, net=SUPERNET) -> EnasSharingSearch:
    return EnasSharingSearch(settings, net, net.prior(key(9)).mu, TASK, key(seed))


@pytest.fixture(scope="module")
def ran():
    """The process, its states, and the rows between them."""
    one = process()
    return one, *walk(one)


def test_the_controllers_turn_comes_after_each_phase(ran):
    one, states, rows = ran
    kinds = "".join("w" if "loss" in row else "c" if "reward" in row else "s" for row in rows)
    # Seven steps in three phases: after 3, 5 and 7 of them.
    assert kinds == "wwwccwwccwwccssss" and one.total == len(kinds)
    for before, after, kind in zip(states, states[1:], kinds, strict=False):
        assert torch.equal(before.theta, after.theta) == (kind != "w")
        assert torch.equal(before.policy.weights, after.policy.weights) == (kind != "c")
    assert all(0.0 <= row["reward"] <= 1.0 and row["entropy"] < 9.7 for row in rows if "reward" in row)


def test_the_weights_may_be_warm_before_its_first_turn():
    one = process(replace(SETTINGS, warmup=1))
    state = one.start(Clock()).state
    due = [SETTINGS.turns(trained) for trained in range(8)]
    assert due == [0, 0, 0, 1, 1, 2, 2, 3]
    assert [one.settings.turns(trained) for trained in range(8)] == [0, 0, 0, 0, 0, 1, 1, 2]
    for _ in range(one.total):
        assert state.updated <= 2 * one.settings.turns(state.trained)
        state = one.step(state, Clock()).state
    assert (state.trained, state.updated, len(state.scores)) == (7, 4, 4)


def test_the_weights_step_on_the_controllers_child(ran):
    one, states, _ = ran
    at = next(i for i, state in enumerate(states) if state.trained == 4)
    before = states[at - 1]
    controller = Controller(NAS_BENCH_201, before.policy.weights, 6)
    child = controller.sample(fold_in(one._child_key, 3), 1)[0]
    expected = one.training.step(before.theta, before.momentum, F.one_hot(child, 5).float(), 3)
    assert torch.equal(states[at].theta, expected.theta) and torch.equal(states[at].momentum, expected.momentum)


def test_children_are_rewarded_on_batches_of_their_own(ran):
    one, states, rows = ran
    at = next(i for i, state in enumerate(states) if state.updated == 4) - 1
    before = states[at]
    children = Controller(NAS_BENCH_201, before.policy.weights, 6).sample(fold_in(one._update_key, 3), 2)
    rewards = []
    for i, child in enumerate(children):
        x, y = TASK.valid.batch(one.validation.key, 6 + i, 6)
        logits = SUPERNET(x, before.theta, F.one_hot(child, 5).float(), True)
        rewards.append((logits.argmax(1) == y).double().mean().item())
    assert rows[at]["reward"] == pytest.approx(sum(rewards) / 2)
    moved = SETTINGS.policy.update(NAS_BENCH_201, before.policy, children, torch.tensor(rewards, dtype=torch.float64))
    assert torch.equal(states[at + 1].policy.weights, moved.weights)
    assert rows[at]["baseline"] == moved.baseline.value == states[at + 1].policy.baseline.value


def test_the_best_candidate_is_the_result(ran):
    one, states, _ = ran
    result = one.result(states[-1])
    candidates = result.distribution.sample(one._candidate_key, 4)
    accuracy = SharedWeights(SUPERNET, states[-1].theta, TASK.valid).measure(candidates, key(0)).values[:, 0]
    assert torch.equal(accuracy, states[-1].scores)
    assert result.genotype == decode(candidates[accuracy.argmax()].numpy(), NAS_BENCH_201)
    assert isinstance(result.distribution, Controller)
    assert [row["step"] for row in result.history] == [14, 15, 16, 17]
    different = len(torch.unique(candidates, dim=0))
    assert result.spent == {"training steps": 7.0, "images": 6 * 2 * 6.0 + different * 12.0}


@pytest.mark.parametrize("at", [4, 9, 15])
def test_it_resumes_to_the_same_bits(at, tmp_path, ran, monkeypatch):
    one, states, _ = ran
    tensors, _ = resumed(process, SETTINGS, one.result(states[-1]), at, tmp_path, monkeypatch)
    assert torch.equal(tensors["theta"], states[-1].theta)
    assert torch.equal(tensors["policy.weights"], states[-1].policy.weights)


def test_a_checkpoint_of_another_space_is_refused(ran):
    one, states, _ = ran
    with pytest.raises(InputError, match="a controller of toy with 6 hidden units"):
        process(net=toys.supernet()).unpack(*one.pack(states[-1]))


def test_a_controller_learns_what_the_weights_say():
    """Rewards that come from one primitive alone raise its probability."""
    one = process(replace(SETTINGS, policy=replace(SETTINGS.policy, aggregate=8)))
    state = one.start(Clock()).state
    one.validation = type("Fake", (), {"loss": staticmethod(lambda theta, z, step: (0.0, z[0, :, 3].mean().item()))})()
    before = one._controller(state).marginals()[0, :, 3].mean()
    for _ in range(20):
        state = one._update(state).state
    assert one._controller(state).marginals()[0, :, 3].mean() > before + 0.3


def test_a_space_whose_nodes_keep_two_edges():
    net = toys.supernet()
    found = search(process(replace(SETTINGS, candidates=2), net=net))
    found.genotype.validate(net.space)
    assert kept(found.distribution.sample(key(2), 5).numpy(), net.space).all()


def test_what_goes_wrong_is_said(tmp_path):
    for wrong in ({"phases": 0}, {"phases": 8}, {"warmup": 3}, {"updates": 0}, {"candidates": 0}, {"reward_images": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            replace(SETTINGS, **wrong)
    with pytest.raises(InputError, match="not finished"):
        process().result(process().start(Clock()).state)
    with pytest.raises(Diverged):
        search(process(replace(SETTINGS, training=replace(SETTINGS.training, lr=1e30, clip=0.0))))
    path = tmp_path / "distribution.safetensors"
    save_distribution(path, Controller.fresh(toys.TOY, key(0), 6))
    with pytest.raises(InputError, match="draws genotypes of 'toy', expected 'nas_bench_201'"):
        process(replace(SETTINGS, policy=replace(SETTINGS.policy, controller=path)))
