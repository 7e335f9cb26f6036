"""BASE's adaptation under the protocol of all searches is the same adaptation."""

from __future__ import annotations

import signal

import pytest
import torch

from base_fast import adapt, derive
from base_fast.errors import Interrupted
from base_fast.meta import AdaptConfig, Budget, InnerConfig, Schedule, StepRule
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


def test_it_resumes_to_the_same_bits(tmp_path, monkeypatch):
    whole = search(BaseSearch(PRIOR, TASK, CONFIG, 1))
    log, left = RunFolder.log, [5]

    def cut(self, *arguments, **values):
        log(self, *arguments, **values)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(RunFolder, "log", cut)
    with RunFolder.create(tmp_path / "r", "search", CONFIG) as run:
        with pytest.raises(Interrupted, match="after 4 of 8 steps"):
            search(BaseSearch(PRIOR, TASK, CONFIG, 1), run)
        resumed = search(BaseSearch(PRIOR, TASK, CONFIG, 1), run)
    assert torch.equal(whole.distribution.tensors()["logits"], resumed.distribution.tensors()["logits"])
    assert (whole.history, whole.genotype) == (resumed.history, resumed.genotype)
