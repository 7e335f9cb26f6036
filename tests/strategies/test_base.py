"""BASE under the protocol of all searches is the same adaptation, and the same derivation."""

from __future__ import annotations

import pytest
import torch

from base_fast import adapt, derive
from base_fast.errors import Interrupted
from base_fast.meta import (
    AdaptConfig,
    Budget,
    CellEvidenceConfig,
    InnerConfig,
    PlayOffConfig,
    Schedule,
    StepRule,
    play_off,
)
from base_fast.meta.architecture import ArchitectureConfig
from base_fast.meta.play_off import PlayOff
from base_fast.objectives import SharedTrainingConfig
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.strategies import BaseSearch, search
from tests.meta.toys import prior, supernet, task

TASK = task(key(3))
PRIOR = prior(supernet())
CONFIG = AdaptConfig(
    InnerConfig(z="soft", beta_z=0.0, batch_size=4, alpha=StepRule("adam", 0.1), head="kept"),
    Budget(steps=8),
    evaluate_every=3,
    device="cpu",
    step_size=Schedule(),
)
EVIDENCE = CellEvidenceConfig(training_free=0.0, images=9, own=SharedTrainingConfig(2, 5, 0.05, 0.0))
PATHS = AdaptConfig(
    InnerConfig(
        batch_size=4, head="kept", evidence=EVIDENCE, architecture=ArchitectureConfig(cells=4, uniform=1.0, every=3)
    ),
    Budget(steps=4),
    evaluate_every=2,
    device="cpu",
)
PLAY = PlayOffConfig(cells=4, neighbours=3, rounds=2, steps=1)


def rows(run: RunFolder, name: str) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k not in ("time", "phase")} for row in run.rows(name)]


def test_it_is_the_adaptation(tmp_path):
    with RunFolder.create(tmp_path / "r", "search", CONFIG) as run:
        found = search(BaseSearch(PRIOR, TASK, CONFIG, CONFIG.seed, "pairs"), run)
        adapted = adapt(PRIOR, TASK, CONFIG, run=run)
        assert rows(run, "search") == rows(run, "adapt")
    assert torch.equal(found.distribution.tensors()["logits"], adapted.posterior.alpha)
    assert found.genotype == derive(adapted.posterior, "pairs").genotype
    assert found.spent == {"training steps": 8.0}
    assert [row["step"] for row in found.history] == [row["step"] for row in adapted.history]
    assert [row["values"]["accuracy"] for row in found.history] == [100.0 * row["accuracy"] for row in adapted.history]
    assert found.quantities[0].name == "accuracy"


def test_it_is_the_adaptation_and_its_play_off(tmp_path):
    with RunFolder.create(tmp_path / "r", "search", PATHS) as run:
        found = search(BaseSearch(PRIOR, TASK, PATHS, PATHS.seed, play_off=PLAY), run)
        adapted = adapt(PRIOR, TASK, PATHS, run=run)
        record = play_off(adapted, TASK, PLAY, PATHS, run=run)
        phases = [rows(run, name) for name in ("search", "adapt", "play-off")]
    assert phases[0][: len(phases[1])] == phases[1]
    assert [row["best"] for row in phases[0][len(phases[1]) :]] == [row["best"] for row in phases[2]]
    assert torch.equal(found.distribution.tensors()["logits"], adapted.posterior.alpha)
    assert found.genotype == record.winner
    # Each draw measures its different cells once, on 9 images and with 2 steps; a round trains from fresh weights.
    assert adapted.draws.draw.unique().tolist() == [0, 1]
    drawn = sum(len(cells.unique(dim=0)) for cells in adapted.draws.choices.split(4))
    played = [(len(one.cells), one.steps) for one in record.rounds]
    assert [size for size, _ in played] == PLAY.sizes
    assert found.spent == {
        "training steps": 4.0 + 2.0 * drawn + sum(size * steps for size, steps in played),
        "images": 9.0 * drawn,
    }


@pytest.mark.parametrize("limit", [Budget(None, seconds=1e-9), Budget(20, entropy_tolerance=1e9, entropy_window=2)])
def test_the_play_off_follows_whatever_ends_the_adaptation(limit):
    config = AdaptConfig(PATHS.inner, limit, evaluate_every=2, device="cpu")
    strategy = BaseSearch(PRIOR, TASK, config, 0, play_off=PLAY)
    assert strategy.total == (None if limit.steps is None else 29)
    found = search(strategy)
    assert found.history[-1]["step"] == (1 if limit.steps is None else 2)
    assert found.spent["training steps"] > 4


@pytest.mark.parametrize(("stop", "message"), [(4, "after 3 of 13 steps"), (6, "after 5 of 13 steps")])
def test_it_resumes_to_the_same_bits(tmp_path, monkeypatch, stop, message):
    whole = search(BaseSearch(PRIOR, TASK, PATHS, 1, play_off=PLAY))
    step, taken = BaseSearch.step, []

    def cut(self, state, clock):
        taken.append(clock.done)
        if len(taken) == stop:
            raise Interrupted("stopped while genotypes were measured")
        return step(self, state, clock)

    monkeypatch.setattr(BaseSearch, "step", cut)
    with RunFolder.create(tmp_path / "r", "search", PATHS) as run:
        with pytest.raises(Interrupted, match=message):
            search(BaseSearch(PRIOR, TASK, PATHS, 1, play_off=PLAY), run)
        resumed = search(BaseSearch(PRIOR, TASK, PATHS, 1, play_off=PLAY), run)
    assert torch.equal(whole.distribution.tensors()["logits"], resumed.distribution.tensors()["logits"])
    assert (whole.history, whole.genotype, whole.spent) == (resumed.history, resumed.genotype, resumed.spent)


def test_a_play_off_resumes_on_another_number_of_cores(tmp_path, monkeypatch):
    adapted = adapt(PRIOR, TASK, PATHS)
    whole = play_off(adapted, TASK, PLAY, PATHS)
    step = PlayOff.step

    def one_at_a_time(self, state, clock):
        if len(state.fields) == 2:
            raise Interrupted("stopped")
        self.chunk = 1
        return step(self, state, clock)

    with RunFolder.create(tmp_path / "r", "adapt", PATHS) as run:
        monkeypatch.setattr(PlayOff, "step", one_at_a_time)
        with pytest.raises(Interrupted, match="after 4 measurements"):
            play_off(adapted, TASK, PLAY, PATHS, run=run)

        def many(self, state, clock):
            self.chunk = 100
            return step(self, state, clock)

        monkeypatch.setattr(PlayOff, "step", many)
        assert play_off(adapted, TASK, PLAY, PATHS, run=run) == whole
