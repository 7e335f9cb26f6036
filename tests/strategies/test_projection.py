"""Selection by perturbation, on planted scores and on a supernet."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from base_fast import Supernet
from base_fast.errors import InputError
from base_fast.meta import StepRule
from base_fast.objectives.shared_weights import path_scores
from base_fast.random import key
from base_fast.runs import Clock
from base_fast.space import NAS_BENCH_201, encode
from base_fast.strategies import Darts, ProjectedSearch, Projection, SharedTrainingConfig, projection
from tests.meta import toys
from tests.strategies.runs import resumed

TASK = toys.task(key(0), train=24, valid=12)
# Node 3 keeps two of its three edges.
SPACE = replace(toys.TOY, name="two nodes", nodes=2, concat=(2, 3))
SUPERNET = Supernet(SPACE, channels=2, layers=2, num_classes=3, reductions=(1,))
PRIOR = toys.prior(SUPERNET)
TRAINING = SharedTrainingConfig(steps=3, batch_size=8, lr=0.1)
SETTINGS = Darts(TRAINING, StepRule("adam", 0.02, beta1=0.5), images=9, projection=Projection(tuning=2))
SKIP = SPACE.primitives.index("skip_connect")


def process(settings: Darts = SETTINGS) -> ProjectedSearch:
    one = settings.on(PRIOR, TASK, 0)
    assert isinstance(one, ProjectedSearch)
    return one


def finish(one: ProjectedSearch):
    state, states = one.start(Clock()).state, []
    while True:
        step = one.step(state, Clock())
        state = step.state
        states.append(state)
        if step.stopped is not None:
            return state, states


@pytest.fixture(scope="module")
def ran():
    one = process()
    return one, *finish(one)


def test_the_steps_are_as_many_as_announced(ran):
    one, state, states = ran
    # 5 edges and the one crowded node, in two cell types: 3 primitives or 3 edges are left out; tuning in between.
    assert len(one.plan) == 6 * (2 * 3 + 1) + 5 * 2
    assert len(states) == one.total == 3 + len(one.plan)
    assert state.projected.tuned == 10 and len(state.projected.history) == 6
    assert one.result(state).spent == {"training steps": 13.0, "architecture steps": 3.0, "images": 9.0 + 36 * 12 + 54}


@pytest.mark.filterwarnings("ignore:skip connections take over")
@pytest.mark.parametrize("space", [SPACE, NAS_BENCH_201], ids=lambda space: space.name)
def test_it_keeps_what_hurts_most_to_remove(monkeypatch, space):
    """A planted network: its accuracy is the sum of what its edges' primitives are worth."""
    shape = (len(space.cell_types), space.num_edges, space.num_primitives)
    worth = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    worth[..., space.primitives.index("none")] = 0.0
    worth[..., SKIP] = 0.0
    seen = []

    def planted(supernet, theta, z, split, hard, images):
        seen.append(z)
        return (worth * z).sum().item(), 1.0

    monkeypatch.setattr(projection, "path_scores", planted)
    net = Supernet(space, channels=2, layers=2, num_classes=3, reductions=(1,))
    prior = toys.prior(net)
    logits = torch.zeros_like(prior.alpha)
    logits[..., SKIP] = 3.0  # by magnitude all edges are skip connections
    settings = replace(SETTINGS, training=replace(TRAINING, steps=1), projection=Projection(0))
    one = settings.on(replace(prior, alpha=logits), TASK, 0)
    assert isinstance(one, ProjectedSearch)
    state, _ = finish(one)
    best = worth.argmax(dim=-1)
    if space.arity is not None:
        for t in range(2):
            edges = space.incoming(3)
            best[t, min(edges, key=lambda e: float(worth[t, e].max()))] = 0
    found = one.result(state)
    assert encode(found.genotype, space).tolist() == best.tolist()
    assert one.search.result(state.searched).genotype.normal[0][0] == "skip_connect"
    assert all((z >= 0).all() and (z.sum(-1) <= 1 + 1e-6).all() for z in seen)


def test_a_removal_is_measured_on_the_rest_of_the_mixture(ran):
    one, _, states = ran
    state = states[2]  # the search is over, and nothing removed
    _, cell, edge, _, _ = one.plan[0]
    mean = state.searched.variables[0].softmax(-1)
    scores = []
    for l in (1, 2, 3):
        z = mean.clone()
        z[cell, edge, l] = 0.0
        scores.append(path_scores(SUPERNET, state.searched.theta, z, TASK.valid, False, None))
    assert torch.equal(states[4].projected.scores, torch.tensor(scores[:2], dtype=torch.float64))
    after = states[5].projected
    worst = min(range(3), key=lambda i: (scores[i][0], -scores[i][1]))
    assert after.chosen[cell, edge] == 1 + worst and len(after.scores) == 0
    z = one.z(states[5])
    assert z[cell, edge, 1 + worst] == 1.0 and z[cell, edge].sum() == 1.0
    z[cell, edge] = mean[cell, edge]
    assert torch.equal(z, mean)


def test_the_weights_are_tuned_between_and_alone(ran):
    one, state, states = ran
    logits = states[2].searched.variables[0]
    for before, after in pairwise(states[2:]):
        kind = one.plan[before.projected.step].kind
        assert torch.equal(before.searched.theta, after.searched.theta) == (kind != "tune")
    assert torch.equal(state.searched.variables[0], logits)
    first = next(i for i, item in enumerate(one.plan) if item.kind == "tune") + 2
    z = one.z(states[first])
    step = one.tuning.step(states[first].searched.theta, torch.zeros_like(PRIOR.mu), z, 0, False)
    assert step.lr == 0.1 * TRAINING.lr and torch.equal(states[first + 1].searched.theta, step.theta)


def test_the_last_row_measures_the_cell_that_was_selected(ran):
    one, state, _ = ran
    found = one.result(state)
    last = found.history[-1]
    accuracy, loss = path_scores(SUPERNET, state.searched.theta, one.z(state), TASK.valid, False, 9)
    assert last["values"] == {"accuracy": 100.0 * accuracy, "loss": loss}
    assert last["derived"] == found.genotype.compact() and last["step"] == one.total
    found.genotype.validate(SPACE)
    assert [row["step"] for row in found.history] == sorted(row["step"] for row in found.history)


@pytest.mark.parametrize("at", [2, 3, 5, 10, 50])
def test_it_resumes_to_the_same_bits(at, tmp_path, monkeypatch, ran):
    """In the search, at its end, between two removals, in the tuning, among the edges of a node."""
    one, state, _ = ran
    tensors, header = resumed(process, SETTINGS, one.result(state), at, tmp_path, monkeypatch)
    assert torch.equal(tensors["searched.theta"], state.searched.theta)
    assert torch.equal(tensors["projected.chosen"], state.projected.chosen)
    assert header["process"]["projected.history"] == state.projected.history


def test_a_cell_type_without_layers_is_read_off_the_logits():
    net = Supernet(SPACE, channels=2, layers=1, num_classes=3, reductions=())
    one = replace(SETTINGS, projection=Projection(0)).on(toys.prior(net), TASK, 0)
    assert isinstance(one, ProjectedSearch)
    state, _ = finish(one)
    assert {item.cell for item in one.plan if item.kind != "measure"} == {0}
    assert one.result(state).genotype.reduce == one.search.result(state.searched).genotype.reduce


def test_equal_seeds_decide_in_equal_order_and_others_in_another():
    orders = [[item[:3] for item in SETTINGS.on(PRIOR, TASK, seed).plan] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_what_does_not_go_together_is_refused():
    for wrong in ({"tuning": -1}, {"images": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Projection(**wrong)
    with pytest.raises(InputError, match="skip_limit, projection: got both"):
        replace(SETTINGS, skip_limit=2)
