"""Single paths: what the weights learn on, when cells are measured, and what moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from base_fast import adapt
from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError, Interrupted
from base_fast.evaluation import NetworkConfig
from base_fast.meta import (
    AdaptConfig,
    Budget,
    InnerConfig,
    MetaConfig,
    MetaTrainer,
    OuterConfig,
    PlayOffConfig,
    StepRule,
    Variables,
    play_off,
)
from base_fast.meta.architecture import ArchitectureConfig, Draws, draw_cells, moved_prior, posterior_logits
from base_fast.meta.evidence import CellEvidenceConfig
from base_fast.meta.inner import InnerLoop
from base_fast.meta.outer import run
from base_fast.meta.rules import step
from base_fast.objectives import SharedTrainingConfig, SharedWeights, normal_scores
from base_fast.random import fold_in, key
from base_fast.runs import RunFolder
from base_fast.space import decode
from tests.meta import toys

NET = toys.supernet()
PRIOR = toys.prior(NET)
TASK = toys.task(key(5))
EVIDENCE = CellEvidenceConfig(
    shared=1.0, own_steps=1.0, training_free=0.0, images=9, own=SharedTrainingConfig(2, 5, 0.05, 0.0, weight_decay=0.0)
)
INNER = InnerConfig(
    batch_size=5,
    mu=StepRule("sgd", 0.05, momentum=0.9),
    head="kept",
    architecture=ArchitectureConfig(cells=6, every=3),
    evidence=EVIDENCE,
)
CONFIG = AdaptConfig(INNER, Budget(steps=6), evaluate_every=2)


def loop(config: InnerConfig = INNER, **changes: object) -> InnerLoop:
    return replace(InnerLoop(NET, Variables.of(PRIOR), TASK, key(6), config), **changes)


def test_a_step_moves_the_weights_of_one_drawn_genotype_alone() -> None:
    own = loop(replace(INNER, sample_theta=False))
    before = own.start()
    after, terms, _ = own.step(before)
    moved = after.q.mu != before.q.mu
    path, _ = draw_cells(NET.space, PRIOR.alpha, INNER.uniform, fold_in(fold_in(fold_in(own.key, 1), 0), 1), 1)
    z = F.one_hot(path[0], NET.space.num_primitives).to(PRIOR.mu)
    mu = PRIOR.mu.clone().requires_grad_()
    x, y = TASK.train.batch(fold_in(own.key, 0), 0, 5)
    loss = F.cross_entropy(NET(x.double(), mu, z, hard=True), y)
    (gradient,) = torch.autograd.grad(loss, mu)
    assert torch.allclose(terms.loss, loss)
    assert torch.equal(moved, gradient != 0)
    assert 0 < int(moved.sum()) < len(moved)
    assert torch.equal(after.q.alpha, before.q.alpha)


def test_momentum_waits_where_the_gradient_is_zero() -> None:
    rule = StepRule("sgd", 0.1, momentum=0.5)
    x, slots = step(rule, 0.1, torch.zeros(3), torch.tensor([1.0, 0.0, 2.0]), (torch.tensor([1.0, 1.0, 0.0]),))
    assert slots[0].tolist() == [1.5, 1.0, 2.0]
    assert x.tolist() == pytest.approx([-0.15, 0.0, -0.2])


def test_a_draw_is_evidence_on_common_images_and_an_update() -> None:
    own = loop()
    state = own.step(own.start())[0]
    after, drawn = own.draw(state)
    k = fold_in(fold_in(own.key, 2), 1)
    cells, _ = draw_cells(NET.space, PRIOR.alpha, INNER.architecture.uniform, fold_in(k, 0), 6)
    assert torch.equal(after.draws.choices, cells)
    different, place = torch.unique(cells, dim=0, return_inverse=True)
    shared = SharedWeights(NET, state.q.mu, TASK.valid, 9).measure(different, key(0)).values[:, 1]
    own_loss = drawn.means["own_steps_loss"]
    assert drawn.means["shared_loss"] == pytest.approx(shared.mean().item())
    assert own_loss != pytest.approx(shared.mean().item())
    only = loop(replace(INNER, evidence=replace(EVIDENCE, own_steps=0.0))).draw(state)[0].draws.evidence
    assert torch.allclose(only, normal_scores(-shared)[place])
    update = posterior_logits(NET.space, PRIOR.alpha, after.draws, INNER.architecture, 1.0)
    assert torch.allclose(after.q.alpha, update.phi)
    assert torch.equal(after.q.mu, state.q.mu)
    assert drawn.spent["training steps"] == 2.0 * len(different)


def test_cells_are_drawn_at_intervals_and_after_the_last_step() -> None:
    own = loop()
    state = own.start()._replace(step=3)
    assert own.draws_now(state, last=False)
    assert not own.draws_now(state._replace(step=4), last=False)
    assert own.draws_now(state._replace(step=4), last=True)
    frozen = loop(replace(INNER, alpha=StepRule("sgd", 0.0)))
    assert not frozen.draws_now(state, last=True)
    soft = loop(replace(INNER, z="soft"))
    assert not soft.draws_now(state, last=True)


def test_cold_weights_do_not_count() -> None:
    """During the warm-up only scores of untrained networks do, and where there are none nothing is drawn."""
    own = loop(alpha_moves=False)
    assert not own.draws_now(own.start()._replace(step=3), last=True)
    both = loop(replace(INNER, evidence=replace(EVIDENCE, training_free=0.5)), alpha_moves=False)
    assert both.draws_now(both.start()._replace(step=3), last=True)
    assert both.evidence is not None
    assert (both.evidence.shared, both.evidence.own_steps, both.evidence.training_free) == (0.0, 0.0, 0.5)


def test_a_meta_iteration_moves_the_prior_in_probabilities() -> None:
    config = MetaConfig(
        inner=INNER, outer=OuterConfig(z_rate=0.4), iterations=1, tasks=2, inner_steps=3, warmup=0, seed=3
    )
    got = MetaTrainer(config, NET).fit(toys.Tasks(), start=PRIOR)  # type: ignore[arg-type]
    found = []
    for c in range(2):
        k = fold_in(fold_in(fold_in(key(3), 1), 0), c)
        state, *_ = run(replace(loop(), task=toys.task(fold_in(k, 0)), key=fold_in(k, 1)), 3)
        found.append(state.q)
    assert torch.equal(got.alpha, moved_prior(PRIOR.alpha, [q.alpha for q in found], 0.4, 0.002))
    assert torch.allclose(got.mu, (found[0].mu + found[1].mu) / 2)


def test_an_interrupted_adaptation_resumes_to_the_same_bits(tmp_path, monkeypatch) -> None:
    whole = adapt(PRIOR, TASK, CONFIG)
    taken = []
    step_of = InnerLoop.step

    def counted(self, state):
        taken.append(state.step)
        if len(taken) == 5:
            raise Interrupted("stopped while genotypes were measured")
        return step_of(self, state)

    monkeypatch.setattr(InnerLoop, "step", counted)
    with RunFolder.create(tmp_path / "run", "adapt", CONFIG) as folder:
        with pytest.raises(Interrupted):
            adapt(PRIOR, TASK, CONFIG, run=folder)
        resumed = adapt(PRIOR, TASK, CONFIG, run=folder)
    assert toys.same_bits(whole.posterior, resumed.posterior)
    assert all(torch.equal(a, b) for a, b in zip(whole.draws, resumed.draws, strict=True))
    assert len(whole.draws.choices) == 12


PLAY = PlayOffConfig(cells=4, neighbours=3, rounds=3, steps=1)


def test_a_play_off_halves_the_field_and_doubles_the_steps() -> None:
    adaptation = adapt(PRIOR, TASK, CONFIG)
    record = play_off(adaptation, TASK, PLAY, CONFIG)
    assert [(r.steps, len(r.cells)) for r in record.rounds] == [(1, 4), (2, 5), (4, 3)]
    first, second, third = ([cell.genotype for cell in r.cells] for r in record.rounds)
    assert len(set(first)) == 4
    # The better half went on, with changes of the winner; then the better half of those.
    assert set(first[:2]) < set(second)
    assert set(third) == set(second[:3])
    assert record.winner == third[0]
    q = adaptation.posterior.architecture
    probable = [candidate.genotype for candidate in q.candidates(4)]
    assert set(probable[:2]) <= set(first)
    draws = adaptation.draws
    last = draws.draw == 1
    best = decode(draws.choices[last][int(draws.evidence[last].argmax())].numpy(), NET.space)
    assert best in first
    for r in record.rounds:
        evidence = [cell.evidence for cell in r.cells]
        assert evidence == sorted(evidence, reverse=True)
        assert {name for cell in r.cells for name in cell.measured} == {"alone_loss"}
    by_probability = {cell.genotype: cell.probability for cell in record.rounds[0].cells}
    assert by_probability[probable[0]] == pytest.approx(q.candidates(1)[0].probability)


def test_an_interrupted_play_off_resumes_to_the_same_record(tmp_path, monkeypatch) -> None:
    adaptation = adapt(PRIOR, TASK, CONFIG)
    whole = play_off(adaptation, TASK, PLAY, CONFIG)
    from base_fast.meta.play_off import PlayOff

    taken = []
    step_of = PlayOff.step

    def counted(self, state, clock):
        taken.append(len(state.fields))
        if len(taken) == 6:
            raise Interrupted("stopped while genotypes were measured")
        return step_of(self, state, clock)

    monkeypatch.setattr(PlayOff, "step", counted)
    with RunFolder.create(tmp_path / "run", "adapt", CONFIG) as folder:
        with pytest.raises(Interrupted):
            play_off(adaptation, TASK, PLAY, CONFIG, run=folder)
        assert play_off(adaptation, TASK, PLAY, CONFIG, run=folder) == whole
        folder.write("play_off", whole)
        assert folder.read("play_off", type(whole)) == whole


def test_a_field_without_draws_is_the_most_probable_cells() -> None:
    adaptation = replace(adapt(PRIOR, TASK, CONFIG), draws=Draws.none(NET.space))
    record = play_off(adaptation, TASK, replace(PLAY, rounds=1), CONFIG)
    probable = [candidate.genotype for candidate in adaptation.posterior.architecture.candidates(4)]
    assert {cell.genotype for cell in record.rounds[0].cells} == set(probable)


def test_the_derived_cell_of_a_single_path_is_evaluated_as_one() -> None:
    adaptation = adapt(PRIOR, TASK, replace(CONFIG, evaluate_images=None))
    mode = IndependentEdges(NET.space, adaptation.posterior.alpha).mode()
    judge = SharedWeights(NET, adaptation.posterior.mu, TASK.valid)
    accuracy, loss = judge.measure(mode.unsqueeze(0), key(0)).values[0].tolist()
    assert adaptation.history[-1]["loss"] == pytest.approx(loss)
    assert 100 * adaptation.accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InnerConfig(uniform=-0.1), "uniform: got -0.1"),
        (lambda: InnerConfig(beta_z=0.0), "beta_z: got 0 with z = 'single'"),
        (lambda: OuterConfig(z_rate=0.0), "z_rate: got 0.0"),
        (lambda: OuterConfig(z_floor=0.5), "z_floor: got 0.5"),
        (lambda: CellEvidenceConfig(0.0, 0.0, 0.0, 0.0), "shared, own_steps, alone, training_free: got"),
        (lambda: CellEvidenceConfig(images=0), "images: got 0"),
        (lambda: PlayOffConfig(cells=1), "cells: got 1, expected an integer ≥ 2"),
        (lambda: PlayOffConfig(rounds=0), "rounds: got 0"),
    ],
)
def test_refused(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(("free", "said"), [(0.0, "never move: warmup is 6 of 6 steps"), (0.5, "but for scores of")])
def test_a_warmup_of_the_whole_budget_is_said(free: float, said: str, recwarn: pytest.WarningsRecorder) -> None:
    inner = replace(INNER, evidence=replace(EVIDENCE, training_free=free, network=NetworkConfig(channels=2, layers=2)))
    adapt(PRIOR, TASK, replace(CONFIG, inner=inner, warmup=6))
    assert [said in str(warning.message) for warning in recwarn] == [True]
    adapt(PRIOR, TASK, replace(CONFIG, warmup=5))
    assert len(recwarn) == 1
