"""Meta-training and adaptation with bfloat16 activations: close, resumed to the same bits, a posterior in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from base_fast import MetaConfig, MetaTrainer
from base_fast.errors import InputError
from base_fast.meta import AdaptConfig, Budget, InnerConfig, OuterConfig, PlayOffConfig, StepRule, Variables
from base_fast.meta.adapt import Adapting
from base_fast.meta.inner import InnerLoop
from base_fast.meta.outer import task_gradient
from base_fast.meta.play_off import PlayOff
from base_fast.meta.variables import GROUPS
from base_fast.random import key
from base_fast.runs import Clock, RunFolder
from tests.meta import toys
from tests.tolerances import META_DIRECTION_BFLOAT16

NET = toys.supernet()
START = toys.prior(NET, dtype=torch.float32)
INNER = InnerConfig(
    z="soft", batch_size=6, mu=StepRule("sgd", 0.05, momentum=0.5), rho=StepRule("adam", 0.01),
    alpha=StepRule("adam", 0.05), beta_theta=0.01,
)  # fmt: skip
META = MetaConfig(inner=INNER, iterations=3, tasks=1, inner_steps=2, warmup=1, precision="bfloat16")
ADAPT = AdaptConfig(inner=INNER, budget=Budget(steps=4), evaluate_every=2, precision="bfloat16")


class PowerCut(Exception):
    pass


def cut() -> None:
    raise PowerCut


@pytest.mark.parametrize("rule", ["reptile", "first_order", "unrolled"])
def test_the_gradient_on_the_prior_is_close_to_float32(rule: Any) -> None:
    def gradient(seed: int, precision: Any) -> Variables:
        prior = Variables.of(toys.prior(NET, seed, dtype=torch.float32))
        w = prior.leaves() if rule == "unrolled" else prior
        net, task, inner = NET.computing_in(precision), toys.task(key(seed)), replace(INNER, head="kept")
        loop = InnerLoop(net, w, task, key(seed + 20), inner, noise=1.0, differentiable=rule == "unrolled")
        return task_gradient(rule, loop, w, 3).prior

    pairs = [(gradient(seed, "bfloat16"), gradient(seed, "float32")) for seed in range(3)]
    for group in GROUPS:
        own = [(getattr(narrow, group), getattr(exact, group)) for narrow, exact in pairs]
        assert {narrow.dtype for narrow, _ in own} == {torch.float32}
        assert not any(torch.equal(narrow, exact) for narrow, exact in own)
        # The median: on nets this small a single ReLU can turn the gradient of a task.
        cosines = [torch.cosine_similarity(a.flatten(), b.flatten(), dim=0).item() for a, b in own]
        assert median(cosines) > META_DIRECTION_BFLOAT16


@pytest.mark.parametrize("rule", ["reptile", "unrolled"])
def test_meta_training_resumes_to_the_same_bits(rule: Any, tmp_path: Path) -> None:
    config = replace(META, outer=OuterConfig(rule))
    whole = MetaTrainer(config, NET).fit(toys.Tasks(), start=START)  # type: ignore[arg-type]
    with pytest.raises(PowerCut), RunFolder.create(tmp_path, "meta-train", config) as run:
        MetaTrainer(config, NET).fit(toys.Tasks(at=2, action=cut), run=run, start=START)  # type: ignore[arg-type]
    with RunFolder.create(tmp_path, "meta-train", config, resume=True) as run:
        resumed = MetaTrainer(config, NET).fit(toys.Tasks(), run=run, start=START)  # type: ignore[arg-type]
    assert toys.same_bits(whole, resumed)
    assert {x.dtype for x in (whole.mu, whole.rho, whole.alpha)} == {torch.float32}
    exact = MetaTrainer(replace(config, precision="float32"), NET).fit(toys.Tasks(), start=START)  # type: ignore[arg-type]
    assert not toys.same_bits(whole, exact)
    # A run with the other precision is another run.
    other = replace(config, precision="float32")
    with pytest.raises(InputError, match="precision"):
        RunFolder.create(tmp_path, "meta-train", other, resume=True)


def test_adaptation_resumes_to_the_same_bits() -> None:
    process = Adapting.of(START, toys.task(key(5)), ADAPT)
    whole = resumed = process.start(Clock(4)).state
    for _ in range(4):
        whole = process.step(whole, Clock(4)).state
        resumed = process.step(process.unpack(*process.pack(resumed)), Clock(4)).state
    assert toys.same_bits(whole.inner.q, resumed.inner.q)
    assert [row["loss"] for row in whole.history] == [row["loss"] for row in resumed.history]
    assert whole.inner.q.mu.dtype == torch.float32


def test_cells_are_judged_in_the_same_precision() -> None:
    # Everything that runs the supernet is given one: inner loop, evaluation, evidence, play-off.
    task = toys.task(key(5))
    process = Adapting.of(START, task, ADAPT)
    assert process.loop.supernet.precision == "bfloat16"
    draws = process.loop.start().draws
    assert PlayOff.of(START, draws, task, PlayOffConfig(cells=2), ADAPT).supernet.precision == "bfloat16"
    assert MetaTrainer(META, NET).supernet.precision == "bfloat16"
    own = replace(ADAPT, inner=replace(ADAPT.inner, head="own"))
    assert Adapting.of(START, toys.task(key(5), classes=2), own).loop.supernet.precision == "bfloat16"


@pytest.mark.parametrize("config", [MetaConfig, AdaptConfig])
def test_another_precision_is_refused(config: Any) -> None:
    with pytest.raises(InputError, match="precision: got 'float16', expected one of float32, bfloat16"):
        config(precision="float16")
