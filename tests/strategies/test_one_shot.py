"""The trainer of gradient-based one-shot searches, in double precision on a supernet of two cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from base_fast import Posterior, Supernet
from base_fast.errors import Diverged, InputError
from base_fast.meta import StepRule
from base_fast.objectives.shared_weights import path_scores
from base_fast.random import fold_in, key
from base_fast.runs import Clock
from base_fast.space import NAS_BENCH_201, Genotype, derive
from base_fast.strategies import Darts, GradientSearch, SharedTrainingConfig, search
from base_fast.strategies.collapse import skip_connections
from tests.meta import toys
from tests.strategies.runs import resumed
from tests.tolerances import SUPERNET_BFLOAT16

TASK = toys.task(key(0), train=24, valid=12)
SUPERNET = toys.supernet()
PRIOR = toys.prior(SUPERNET)
TRAINING = SharedTrainingConfig(steps=6, batch_size=8, lr=0.1, clip=1.0)
SETTINGS = Darts(TRAINING, StepRule("adam", 0.02, beta1=0.5), evaluate_every=4, images=9)


@dataclass(frozen=True)
class SingleLevel(Darts):
    """The same mixture, moved by the training loss, with a penalty."""

    learns_from: ClassVar = "train"

    def penalty(self, variables):
        return 0.1 * variables[0].exp().sum()


def process(settings=SETTINGS, posterior: Posterior = PRIOR, seed: int = 0) -> GradientSearch:
    return settings.on(posterior, TASK, seed)


def run(one: GradientSearch, steps: int):
    state, rows = one.start(Clock()).state, []
    for _ in range(steps):
        step = one.step(state, Clock())
        state = step.state
        rows.append(step.row)
    return state, rows


def loss_of(one: GradientSearch, part, theta, alpha, number: int):
    batches = one.training if part is TASK.train else one.valid
    x, y = part.batch(batches.key, number, 8)
    return F.cross_entropy(SUPERNET(x.double(), theta, alpha.softmax(-1)), y)


def optimizers(theta, alpha):
    sgd = torch.optim.SGD([theta], lr=0.1, momentum=0.9, weight_decay=3e-4)
    return sgd, torch.optim.Adam([alpha], lr=0.02, betas=(0.5, 0.999), eps=0.0, weight_decay=1e-3)


def test_a_step_is_adam_on_the_validation_loss_then_sgd_on_the_training_loss():
    one = process()
    start = one.start(Clock()).state
    theta, alpha = (x.clone().requires_grad_(True) for x in (start.theta, start.variables[0]))
    sgd, adam = optimizers(theta, alpha)
    for number in range(3):
        adam.zero_grad()
        loss_of(one, TASK.valid, theta, alpha, number).backward()
        adam.step()
        sgd.zero_grad()
        sgd.param_groups[0]["lr"] = TRAINING.lr_at(number)
        loss_of(one, TASK.train, theta, alpha, number).backward()
        torch.nn.utils.clip_grad_norm_([theta], 1.0)
        sgd.step()
    state, _ = run(one, 3)
    # Measured on x86-64: 4e-9 and 2e-11; Adam's ε stands inside the root here, and is left out beside it.
    torch.testing.assert_close(state.variables[0], alpha.detach(), rtol=0.0, atol=1e-7)
    torch.testing.assert_close(state.theta, theta.detach(), rtol=0.0, atol=1e-7)


def test_a_single_level_moves_both_along_one_loss():
    settings = SingleLevel(TRAINING, SETTINGS.architecture, evaluate_every=4, images=9)
    one = process(settings)
    start = one.start(Clock()).state
    theta, alpha = (x.clone().requires_grad_(True) for x in (start.theta, start.variables[0]))
    sgd, adam = optimizers(theta, alpha)
    loss = loss_of(one, TASK.train, theta, alpha, 0)
    (loss + 0.1 * alpha.exp().sum()).backward()
    torch.nn.utils.clip_grad_norm_([theta], 1.0)
    sgd.step()
    adam.step()
    state, (row,) = run(one, 1)
    assert row["loss"] == pytest.approx(loss.item()) and "valid_loss" not in row
    torch.testing.assert_close(state.variables[0], alpha.detach(), rtol=0.0, atol=1e-7)
    torch.testing.assert_close(state.theta, theta.detach(), rtol=0.0, atol=1e-7)


def test_the_weights_warm_up_alone():
    one = process(replace(SETTINGS, warm_up=1 / 3))
    state, rows = run(one, 3)
    warm, _ = run(one, 2)
    assert torch.equal(warm.variables[0], one.start(Clock()).state.variables[0])
    assert not torch.equal(warm.theta, one.theta) and not torch.equal(warm.variables[0], state.variables[0])
    assert ["valid_loss" in row for row in rows] == [False, False, True]
    assert one.result(state).spent["architecture steps"] == 1.0


def test_it_starts_at_the_prior():
    alpha = process().start(Clock()).state.variables[0] - PRIOR.alpha
    assert 0.0 < alpha.abs().max() < 5e-3
    assert not torch.equal(alpha, process(seed=1).start(Clock()).state.variables[0] - PRIOR.alpha)


def test_what_it_leaves_is_what_it_measured():
    one = process()
    state, rows = run(one, 6)
    result = one.result(state)
    alpha = state.variables[0]
    assert [row["step"] for row in result.history] == [4, 6]
    assert ["accuracy" in row for row in rows] == [False] * 3 + [True, False, True]
    accuracy, loss = path_scores(SUPERNET, state.theta, alpha.softmax(-1), TASK.valid, False, 9)
    last = result.history[-1]
    assert last["values"] == {"accuracy": 100.0 * accuracy, "loss": loss} and rows[-1]["accuracy"] == accuracy
    assert torch.equal(result.distribution.tensors()["logits"], alpha)
    assert result.genotype == derive(alpha.softmax(-1).numpy(), toys.TOY)
    assert last["derived"] == result.genotype.compact() and last["skips"] == skip_connections(result.genotype)
    assert last["entropy"] == rows[-1]["entropy"] == result.distribution.entropy().item()
    assert result.spent == {"training steps": 6.0, "architecture steps": 6.0, "images": 18.0}


def test_it_leaves_a_posterior(tmp_path):
    one = process()
    state, _ = run(one, 2)
    left = one.result(state).posterior
    assert left is not None
    left.save(tmp_path / "p")
    read = Posterior.load(tmp_path / "p")
    assert torch.equal(read.mu, state.theta) and torch.equal(read.alpha, state.variables[0])
    assert read.lineage[-1]["strategy"] == "Darts" and read.lineage[-1]["steps"] == 2


def test_skip_connections_are_counted_in_the_normal_cell():
    cell = "|skip_connect~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|nor_conv_3x3~1|skip_connect~2|"
    assert skip_connections(Genotype.parse(cell)) == 3


@pytest.mark.parametrize("at", [1, 4])
def test_it_resumes_to_the_same_bits(at, tmp_path, monkeypatch):
    one = process()
    state, _ = run(one, 6)
    tensors, _ = resumed(process, SETTINGS, one.result(state), at, tmp_path, monkeypatch)
    assert torch.equal(tensors["theta"], state.theta) and torch.equal(tensors["momentum"], state.momentum)
    assert torch.equal(tensors["variables.0"], state.variables[0])
    assert all(torch.equal(tensors[f"slots.{i}"], state.slots[i]) for i in range(3))


def test_activations_in_bfloat16(tmp_path, monkeypatch):
    def narrow(precision="bfloat16"):
        training = replace(TRAINING, precision=precision)
        return process(replace(SETTINGS, training=training), toys.prior(SUPERNET, dtype=torch.float32))

    one, exact = narrow(), narrow("float32")
    (state, rows), (other, expected) = run(one, 6), run(exact, 6)
    assert state.theta.dtype == torch.float32
    assert not torch.equal(state.theta, other.theta)
    assert rows[0]["loss"] == pytest.approx(expected[0]["loss"], rel=SUPERNET_BFLOAT16)
    tensors, _ = resumed(narrow, SETTINGS, one.result(state), 4, tmp_path, monkeypatch)
    assert torch.equal(tensors["theta"], state.theta)
    assert torch.equal(tensors["variables.0"], state.variables[0])
    with pytest.raises(InputError, match="precision: got 'half', expected one of float32, bfloat16"):
        SharedTrainingConfig(precision="half")


def test_noise_is_of_the_step_and_of_what_moves():
    keys = []

    class Noisy(SingleLevel):
        def z(self, variables, key, progress):
            keys.append((tuple(key.tolist()), progress))
            return super().z(variables, key, progress)

    one = process(Noisy(TRAINING))
    for number in (0, 3):
        for of in ("architecture", "weights"):
            one.z(one.start(Clock()).state.variables, number, of)
    assert len({noise for noise, _ in keys}) == 4
    assert [progress for _, progress in keys] == [0.0, 0.0, 0.5, 0.5]
    assert keys[3][0] == tuple(fold_in(fold_in(fold_in(key(0), 3), 3), 1).tolist())


def test_what_goes_wrong_is_said():
    for wrong, says in (
        ({"warm_up": 1.0}, "warm_up: got 1.0, expected a share of the steps"),
        ({"warm_up": -0.1}, "warm_up: got -0.1"),
        ({"evaluate_every": 0}, "evaluate_every: got 0"),
        ({"images": 0}, "images: got 0"),
        ({"decay": -1.0}, "decay: got -1.0"),
        ({"architecture": StepRule("natural")}, "architecture.rule: got 'natural'"),
    ):
        with pytest.raises(InputError, match=says):
            replace(SETTINGS, **wrong)
    wild = replace(SETTINGS, training=replace(TRAINING, lr=1e300, clip=0.0))
    with pytest.raises(Diverged):
        search(process(wild))


def test_a_space_that_keeps_all_edges():
    small = Supernet(NAS_BENCH_201, channels=2, layers=3, num_classes=3, reductions=(1,))
    settings = replace(SETTINGS, training=replace(TRAINING, steps=1))
    found = search(settings.on(small.prior(key(1)), TASK, 0))
    found.genotype.validate(NAS_BENCH_201)
    nothing = Supernet(NAS_BENCH_201, channels=2, layers=2, num_classes=3)
    with pytest.raises(InputError, match="layers: got 2, all of them reductions"):
        settings.on(nothing.prior(key(1)), TASK, 0)
