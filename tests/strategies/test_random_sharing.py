from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from base_fast import Supernet
from base_fast.distributions import Empirical
from base_fast.errors import Diverged, InputError
from base_fast.objectives import SharedWeights
from base_fast.random import fold_in, key
from base_fast.runs import Clock
from base_fast.space import NAS_BENCH_201, decode, encode, kept
from base_fast.strategies import RandomSharing, RandomSharingSearch, SharedTrainingConfig, search
from tests.meta import toys
from tests.meta.toys import task
from tests.strategies.runs import resumed

TASK = task(key(0), train=24, valid=12)
SETTINGS = RandomSharing(SharedTrainingConfig(steps=12, batch_size=8, lr=0.1), children=8, finalists=3, score_images=6)
SUPERNET = Supernet(NAS_BENCH_201, channels=4, layers=5, num_classes=3)


def process(settings=SETTINGS, seed=0) -> RandomSharingSearch:
    return RandomSharingSearch(settings, SUPERNET, SUPERNET.prior(key(9)).mu, TASK, key(seed))


@pytest.fixture(scope="module")
def ran():
    """The process, its last state, and the rows on the way."""
    one = process()
    state, rows = one.start(Clock()).state, []
    for _ in range(one.total):
        step = one.step(state, Clock())
        state = step.state
        rows.append(step.row)
    return one, state, rows


def test_the_weights_learn_and_then_stay(ran):
    one, state, rows = ran
    losses = [row["loss"] for row in rows[:12]]
    assert sum(losses[-3:]) < sum(losses[:3])
    assert all("score" in row for row in rows[12:20]) and all("values" in row for row in rows[20:])
    assert len(state.scores) == 8 and len(state.finals) == 3 and one.total == 23


def test_a_training_step_is_sgd_on_one_childs_path(ran):
    one, _, _ = ran
    start = one.start(Clock()).state
    theta = start.theta.clone().requires_grad_(True)
    choices = one.uniform.sample(fold_in(one._child_key, 0), 1)[0]
    x, y = TASK.train.batch(one.training.key, 0, 8)
    loss = F.cross_entropy(SUPERNET(x, theta, F.one_hot(choices, 5).float()), y)
    sgd = torch.optim.SGD([theta], lr=0.1, momentum=0.9, weight_decay=3e-4)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([theta], 5.0)
    sgd.step()
    torch.testing.assert_close(one.step(start, Clock()).state.theta, theta.detach(), rtol=1e-4, atol=1e-6)


def test_the_best_children_are_judged_again(ran):
    one, state, _ = ran
    result = one.result(state)
    judge = SharedWeights(SUPERNET, state.theta, TASK.valid)
    quick = SharedWeights(SUPERNET, state.theta, TASK.valid, 6)
    children = torch.stack([one._child(i) for i in range(8)])
    scores = quick.measure(children, key(0)).values[:, 0]
    assert torch.equal(scores, state.scores)
    finalists = children[scores.argsort(descending=True, stable=True)[:3]]
    accuracy = judge.measure(finalists, key(0)).values[:, 0]
    assert torch.equal(accuracy, state.finals)
    assert result.genotype == decode(finalists[accuracy.argmax()].numpy(), NAS_BENCH_201)
    assert isinstance(result.distribution, Empirical) and torch.equal(result.distribution.choices, finalists)
    assert [row["values"]["accuracy"] for row in result.history] == accuracy.tolist()
    assert [row["step"] for row in result.history] == [21, 22, 23]
    assert encode(result.history[1]["genotype"], NAS_BENCH_201).tolist() == finalists[1].tolist()
    assert result.spent == {"training steps": 12.0, "images": 8 * 6 + 3 * 12.0}


@pytest.mark.parametrize("at", [5, 15, 22])
def test_it_resumes_to_the_same_bits(at, tmp_path, ran, monkeypatch):
    one, state, _ = ran
    tensors, _ = resumed(process, SETTINGS, one.result(state), at, tmp_path, monkeypatch)
    assert torch.equal(tensors["theta"], state.theta) and torch.equal(tensors["momentum"], state.momentum)


def test_a_space_whose_nodes_keep_two_edges():
    net = toys.supernet()
    small = replace(SETTINGS, training=replace(SETTINGS.training, steps=3), children=4, finalists=2)
    found = search(RandomSharingSearch(small, net, net.prior(key(1)).mu, TASK, key(0)))
    found.genotype.validate(net.space)
    assert kept(found.distribution.sample(key(2), 5).numpy(), net.space).all()


def test_what_goes_wrong_is_said():
    with pytest.raises(InputError, match="finalists, children: got 3, 2"):
        RandomSharing(children=2, finalists=3)
    for wrong in ({"steps": 0}, {"batch_size": 0}, {"lr": 0.0}, {"clip": -1.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            SharedTrainingConfig(**wrong)
    with pytest.raises(InputError, match="not finished"):
        process().result(process().start(Clock()).state)
    wild = replace(SETTINGS, training=replace(SETTINGS.training, lr=1e30, clip=0.0))
    with pytest.raises(Diverged):
        search(process(wild))
