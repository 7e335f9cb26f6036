"""NAO with weight sharing: whom the weights serve, who scores whom, what comes next, and the same bits after a stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from base_fast import Supernet
from base_fast.distributions import Empirical
from base_fast.errors import InputError
from base_fast.objectives import SharedWeights
from base_fast.predictors.autoencoder import AutoencoderConfig
from base_fast.random import key
from base_fast.runs import Clock
from base_fast.space import NAS_BENCH_201
from base_fast.strategies import Nao, NaoSharing, NaoSharingSearch, SharedTrainingConfig, search
from tests.meta.toys import task

TASK = task(key(0), train=24, valid=12)
SETTINGS = NaoSharing(
    SharedTrainingConfig(steps=9, batch_size=8, lr=0.1),
    rounds=2,
    nao=Nao(first=6, round=3, parents=2, model=AutoencoderConfig(4, 8, steps=5)),
)
SUPERNET = Supernet(NAS_BENCH_201, channels=4, layers=5, num_classes=3)


def process(settings: NaoSharing = SETTINGS) -> NaoSharingSearch:
    return NaoSharingSearch(settings, SUPERNET, SUPERNET.prior(key(9)).mu, TASK, key(0))


def test_populations_are_trained_scored_and_replaced() -> None:
    one = process()
    states, rows, stopped = [one.start(Clock()).state], [], None
    while stopped is None:
        step = one.step(states[-1], Clock())
        states.append(step.state)
        rows.append(step.row)
        stopped = step.stopped
    assert ["loss" in row for row in rows] == [True] * 3 + [False] * 6 + ([True] * 3 + [False] * 5) * 2
    assert len(states[-1].population) == 5 and states[-1].trained == 9 and states[-1].phase == 2
    scored = states[9]
    judge = SharedWeights(SUPERNET, scored.theta, TASK.valid)
    assert torch.equal(scored.scores, judge.measure(scored.population, key(0)).values[:, 0])
    after = states[10]
    assert torch.equal(after.population[:2], SETTINGS.nao.best(scored.population, scored.scores))
    new = after.population[2:]
    assert len(torch.cat((new, scored.population)).unique(dim=0)) == 3 + len(scored.population.unique(dim=0))
    result = one.result(states[-1])
    assert isinstance(result.distribution, Empirical) and len(result.notes) == 2
    assert result.spent == {"training steps": 9.0, "images": 12.0 * 16}
    assert result.history[-1]["best"] == states[-1].scores.max().item()


def test_a_packed_state_goes_on_to_the_same_bits() -> None:
    # In the second population, so that it is not the first one that a start would draw.
    one, state = process(), process().start(Clock()).state
    for _ in range(14):
        state = one.step(state, Clock()).state
    other = process()
    again = other.unpack(*one.pack(state))
    stopped = None
    while stopped is None:
        step = one.step(state, Clock())
        state, stopped = step.state, step.stopped
        again = other.step(again, Clock()).state
    assert torch.equal(again.theta, state.theta) and torch.equal(again.population, state.population)
    assert other.result(again).history == one.result(state).history
    assert search(process()).history == one.result(state).history


def test_refusals() -> None:
    with pytest.raises(InputError, match="training.steps: got 9, expected at least one for each of 11 phases"):
        replace(SETTINGS, rounds=10)
    with pytest.raises(InputError, match="not finished"):
        process().result(process().start(Clock()).state)
