"""The parts that combine with every gradient-based search, in its trainer."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from base_fast.errors import InputError
from base_fast.meta import StepRule
from base_fast.random import fold_in, key
from base_fast.runs import Clock
from base_fast.space import Genotype, Space, skip_edges
from base_fast.strategies import AuxiliarySkip, Darts, Perturbation, SharedTrainingConfig, SkipMonitor, search
from base_fast.strategies.one_shot import BatchGradient
from base_fast.strategies.record import SearchRecord
from tests.meta import toys
from tests.strategies.runs import resumed

TASK = toys.task(key(0), train=24, valid=12)
PRIOR = toys.prior(toys.supernet())
SKIP = toys.TOY.primitives.index("skip_connect")
TRAINING = SharedTrainingConfig(steps=8, batch_size=8, lr=0.1)
SETTINGS = Darts(TRAINING, StepRule("adam", 0.02, beta1=0.5), images=9, evaluate_every=2)


@dataclass(frozen=True)
class SingleLevel(Darts):
    learns_from: ClassVar = "train"


@dataclass(frozen=True)
class Collapsing(Darts):
    """Every validation batch says: more skip connections."""

    def batch_gradient(self, at):
        gradient = torch.zeros_like(at.z)
        gradient[..., SKIP] = -1.0
        return BatchGradient(gradient, 0.0, 0.0)


COLLAPSING = Collapsing(TRAINING, StepRule("sgd", 1.2), decay=0.0, images=9, evaluate_every=2)


def run(settings, steps: int):
    one = settings.on(PRIOR, TASK, 0)
    state, found = one.start(Clock()).state, []
    for _ in range(steps):
        step = one.step(state, Clock())
        state = step.state
        found.append(step)
        if step.stopped is not None:
            break
    return one, state, found


@pytest.mark.parametrize("kind", [Darts, SingleLevel])
def test_the_weights_step_where_the_perturbation_says(kind):
    part = Perturbation(0.1, 0.2, 2)
    settings = kind(TRAINING, SETTINGS.architecture, perturbation=part)
    one, state, _ = run(settings, 2)
    _, before, _ = run(settings, 1)
    _, plain, _ = run(replace(settings, perturbation=None), 2)
    # Two levels: z is that after the architecture's step. One level: z is that before it.
    z = (state if kind is Darts else before).variables[0].softmax(-1)
    noise = fold_in(fold_in(one._noise_key, 1), 2)
    at = part.perturbed(z, lambda z: one.training.loss(before.theta, z, 1, False)[0], noise, 1 / 8)
    assert (at - z).abs().max() > 0.01
    trained = one.training.step(before.theta, before.momentum, at.requires_grad_(True), 1, False)
    assert torch.equal(state.theta, trained.theta) and not torch.equal(state.theta, plain.theta)
    if kind is SingleLevel:
        leaf = before.variables[0].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad((leaf.softmax(-1) * trained.z_gradient).sum(), leaf)
        moved = one._moved(before, (leaf,), leaf.softmax(-1), trained.z_gradient).variables[0]
        assert torch.equal(moved, state.variables[0]) and gradient.abs().max() > 0


def test_the_architecture_steps_where_it_is():
    settings = replace(SETTINGS, perturbation=Perturbation())
    _, state, _ = run(settings, 1)
    _, plain, _ = run(SETTINGS, 1)
    assert torch.equal(state.variables[0], plain.variables[0]) and not torch.equal(state.theta, plain.theta)


def test_a_skip_limit_is_that_of_the_result_and_of_what_is_measured():
    logits = torch.zeros_like(PRIOR.alpha)
    logits[..., SKIP] = torch.tensor([2.0, 3.0])
    logits[..., toys.TOY.primitives.index("sep_conv_3x3")] = 1.0
    for limit, expected in ((None, 2), (1, 1), (0, 0)):
        settings = replace(SETTINGS, training=replace(TRAINING, steps=1), skip_limit=limit)
        found = search(settings.on(replace(PRIOR, alpha=logits), TASK, 0))
        assert isinstance(found.genotype, Genotype)
        assert len(skip_edges(found.genotype, toys.TOY)) == expected
        assert found.history[-1]["skips"] == 2, "the monitor looks at what there would be without a limit"
        assert found.history[-1]["derived"] == found.genotype.compact()
        names = sorted(name for name, _ in found.genotype.normal)
        assert names == ["sep_conv_3x3"] * (2 - expected) + ["skip_connect"] * expected
    # The next best takes the place of the weaker of the two.
    assert settings.rule != "darts" and dict(map(reversed, found.genotype.normal))[0] == "sep_conv_3x3"


def test_a_collapse_is_said_once_and_before_the_end():
    settings = replace(COLLAPSING, monitor=SkipMonitor(warn_at=2))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        one, state, steps = run(settings, 8)
    skips = [row["skips"] for row in state.history]
    assert skips[0] < 2 and skips[-2:] == [2, 2] and len(steps) == 8, "it only warns"
    first = next(row["step"] for row in state.history if row["skips"] >= 2)
    texts = [str(w.message) for w in said if "skip connections" in str(w.message)]
    assert len(texts) == 1 and f"2 in the normal cell at step {first} (limit 2)" in texts[0] and first < 8
    record = SearchRecord.of("darts", one.result(state))
    assert len(record.notes) == 1 and f"at step {first}" in record.notes[0]


@pytest.mark.filterwarnings("ignore:skip connections take over")
@pytest.mark.parametrize("patience", [1, 2])
def test_early_stopping_gives_the_cell_before(patience):
    free, _, everything = run(COLLAPSING, 8)
    history = everything[-1].state.history
    bad = next(i for i, row in enumerate(history) if row["skips"] >= 2)
    settings = replace(COLLAPSING, monitor=SkipMonitor(2, stop_at=2, patience=patience))
    one, state, steps = run(settings, 8)
    assert steps[-1].stopped == "skip connections"
    assert state.step == 2 * (bad + patience) and state.history == history[: bad + patience]
    found = one.result(state)
    assert found.genotype.compact() == history[bad - 1]["derived"] != history[bad]["derived"]
    assert torch.equal(state.variables[0], everything[2 * bad - 1].state.variables[0])
    assert torch.equal(found.distribution.tensors()["logits"], state.variables[0])
    assert found.notes[-1].startswith(f"Stopped early at step {state.step}: the cell is the one as measured at step")
    assert found.spent["training steps"] == state.step
    shown = SearchRecord.of("darts", found).best(3)
    assert shown == [history[bad - 1] | {"genotype": found.genotype.compact()}], "what was measured of that cell"
    assert len(free.result(everything[-1].state).history) == 4


@pytest.mark.filterwarnings("ignore:skip connections take over")
@pytest.mark.parametrize("at", [1, 4])
def test_with_parts_it_resumes_to_the_same_bits(at, tmp_path, monkeypatch):
    settings = replace(
        COLLAPSING,
        monitor=SkipMonitor(2, stop_at=2, patience=1),
        perturbation=Perturbation(steps=1),
        auxiliary_skip=AuxiliarySkip(),
    )
    one, state, _ = run(settings, 8)
    tensors, _ = resumed(lambda: settings.on(PRIOR, TASK, 0), settings, one.result(state), at, tmp_path, monkeypatch)
    assert state.step < 8, "stopped early"
    assert torch.equal(tensors["theta"], state.theta) and torch.equal(tensors["variables.0"], state.variables[0])


def test_an_auxiliary_skip_connection_fades():
    settings = replace(SETTINGS, auxiliary_skip=AuxiliarySkip(0.5))
    one, state, _ = run(settings, 1)
    plain = SETTINGS.on(PRIOR, TASK, 0)
    start = one.start(Clock()).state
    for number, beta in ((0, 0.5), (4, 0.25), (7, 0.0625)):
        more = one.z(start.variables, number, "weights") - plain.z(start.variables, number, "weights")
        expected = torch.zeros_like(more)
        expected[..., SKIP] = beta
        torch.testing.assert_close(more, expected)
    trained = one.training.step(start.theta, start.momentum, one.z(state.variables, 0, "weights"), 0, False)
    assert torch.equal(trained.theta, state.theta)
    without = Space("short", ("none", "sep_conv_3x3"), 2, 1, ("normal",), (2,), 2)
    with pytest.raises(InputError, match="short has no primitive skip_connect"):
        AuxiliarySkip().added(torch.zeros(1, 2, 2), without, 0.0)
    with pytest.raises(InputError, match="beta: got -1"):
        AuxiliarySkip(-1.0)


def test_parts_of_mixtures_are_refused_where_single_paths_run():
    class Hard(Darts):
        hard = True

    for name, part in (("perturbation", Perturbation()), ("auxiliary_skip", AuxiliarySkip())):
        with pytest.raises(InputError, match=f"{name}: it changes mixtures"):
            Hard(TRAINING, **{name: part})
    with pytest.raises(InputError, match="skip_limit: got -1"):
        replace(SETTINGS, skip_limit=-1)
