"""What is said of a controller's hidden states, of controllers whose dependence is known; and the study's own bits."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from base_fast.distributions import Controller, IndependentEdges, load_distribution, save_distribution
from base_fast.errors import InputError, Interrupted
from base_fast.experiments import ControllerStudy, StudyConfig, controller_study, study
from base_fast.experiments.hidden_states import MEASURES, NOISES, WORTH, ProbeConfig, completed, number, states
from base_fast.objectives import TableConfig
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.space import DARTS, NAS_BENCH_201
from base_fast.strategies import Enas
from base_fast.strategies.memory import Memory
from base_fast.strategies.policy_gradient import PolicyGradient
from tests.objectives import toys

PROBE = ProbeConfig(genotypes=60, pairs=20, states=4, completions=8, permutations=99)
FRESH = Controller.fresh(NAS_BENCH_201, key(1), hidden=24)
# Of weights of this size every choice tells in what follows.
LOUD = FRESH.with_weights(80.0 * FRESH.weights)


def test_completions_depend_on_the_state_where_the_policy_does():
    independent, dependent = completed(FRESH, PROBE, key(1)), completed(LOUD, PROBE, key(1))
    assert [one.step for one in independent] == [1, 2, 3, 4, 5]
    assert all(abs(one.r) < 0.2 for one in independent)
    assert all(one.r > 0.1 and one.p == 0.01 for one in dependent)
    for one in (*independent, *dependent):
        assert one.states == 4
        assert 0 <= one.within <= 6 - one.step and 0 <= one.between <= 6 - one.step
    # Whole genotypes begin with what led to the state, of which the policy need not know.
    assert all(one.whole > 0.3 for one in independent)
    assert completed(FRESH, PROBE, key(1)) == independent


def test_states_are_probed_where_they_have_seen_the_choice():
    probe = replace(PROBE, genotypes=300)
    choices = IndependentEdges.uniform(NAS_BENCH_201).sample(key(2), number(probe))
    found = states(FRESH, choices, probe, toys.table())
    assert [(p.back, p.noise) for p in found.probes] == [(back, noise) for noise in NOISES for back in range(1, 6)]
    last = next(p for p in found.probes if p.back == 1 and p.noise == NOISES[1])
    assert last.accuracy > 0.95 and last.chance < 0.4
    assert found.far(NOISES[0])[0] <= found.far(NOISES[1])[0]
    assert {row.measure for row in found.correlations} == {*MEASURES, WORTH}
    row = found.rho("euclidean", "edit distance")
    assert row.low <= row.rho <= row.high and row.rho > 0
    # The value of the toy is a sum over choices: what the state has seen of them explains most of it.
    assert found.explained[1].choices > 0.6 and 0.5 < found.explained[1].states < 1.0


def test_a_policy_that_draws_one_genotype_has_no_correlations():
    same = IndependentEdges.uniform(NAS_BENCH_201).sample(key(2), 1).expand(number(PROBE), -1, -1)
    found = states(FRESH, same, PROBE, toys.table())
    assert all(row.rho is None and row.low is None for row in found.correlations)
    assert all(one.accuracy == one.chance == 1.0 for one in found.probes)
    assert all(one.states is None for one in found.explained)


def test_cells_that_keep_some_edges():
    controller = Controller.fresh(DARTS, key(0), hidden=6)
    small = replace(PROBE, genotypes=30, pairs=10, states=2, completions=2, permutations=3)
    found = completed(controller, small, key(1))
    assert len(found) == 8 and found[0].step == 3 and found[-1].step == 31
    seen = states(controller, controller.sample(key(2), number(small)), small, None)
    assert seen.probes[30].back == 31 and seen.explained == ()
    assert WORTH not in {row.measure for row in seen.correlations}


# One process makes what all of them look at.
pytestmark = pytest.mark.xdist_group("controller_study")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    path = toys.write_csv(tmp_path_factory.mktemp("study") / "table.csv.gz")
    small = PolicyGradient(lr=0.02, decay=0.9, aggregate=1, hidden=6)
    return StudyConfig(
        table=TableConfig(path, ("valid",)), enas=Enas(small), memory=Memory(weight=1.0, size=9, batch=4), queries=12,
        seeds=1, probe=replace(PROBE, genotypes=20, pairs=10, states=2, completions=2, permutations=3),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(config: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, ControllerStudy]:
    run = RunFolder.create(tmp_path_factory.mktemp("study") / "run", "study-controller", config)
    return run, study(config, run)


def test_the_controllers_differ_in_the_memory_alone(config, whole):
    run, found = whole
    assert list(found.groups()) == ["untrained", "plain", "buffer"]
    names = ("untrained", "plain", "buffer")
    untrained, plain, buffer = (load_distribution(run.path / f"controllers/{x}-seed0.safetensors") for x in names)
    assert not torch.equal(plain.weights, untrained.weights) and not torch.equal(plain.weights, buffer.weights)
    first = {one["step"]: one["genotype"] for one in run.rows("plain-seed0")}
    assert first[1] == {one["step"]: one["genotype"] for one in run.rows("buffer-seed0")}[1]
    assert found.controllers[0].best is None and found.controllers[1].best > 50
    assert found.controllers[0].entropy == pytest.approx(6 * torch.tensor(5.0).log().item(), abs=0.05)
    assert run.read("study", ControllerStudy) == found


@pytest.mark.parametrize("moment", ["in a search", "between controllers"])
def test_a_study_that_was_stopped_goes_on_to_the_same_bits(config, whole, tmp_path, monkeypatch, moment):
    owner, name, at = {
        "in a search": (PolicyGradient, "update", 16),
        "between controllers": (controller_study, "completed", 1),
    }[moment]
    original, calls = getattr(owner, name), []

    def interrupt(*arguments):
        calls.append(1)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    expected = "buffer-seed0: stopped after 4 of 12" if moment == "in a search" else "study: stopped after 1 of 3"
    with monkeypatch.context() as patch, RunFolder.create(tmp_path / "run", "study-controller", config) as run:
        patch.setattr(owner, name, interrupt)
        with pytest.raises(Interrupted, match=expected):
            study(config, run)
    with RunFolder.create(tmp_path / "run", "study-controller", config, resume=True) as again:
        assert study(config, again) == whole[1]
    for path in whole[0].path.glob("controllers/*"):
        assert path.read_bytes() == (tmp_path / "run/controllers" / path.name).read_bytes()


def test_saved_controllers_are_studied_as_they_are(config, whole, tmp_path):
    path = whole[0].path / "controllers/buffer-seed0.safetensors"
    alone = replace(config, seeds=0, saved=(path,))
    with RunFolder.create(tmp_path / "run", "study-controller", alone) as run:
        (found,) = study(alone, run).controllers
    buffer = whole[1].controllers[2]
    assert found == replace(buffer, group="saved", best=None)
    save_distribution(tmp_path / "darts.safetensors", Controller.fresh(DARTS, key(0), hidden=2))
    with pytest.raises(InputError, match="draws genotypes of 'darts', expected 'nas_bench_201'"):
        controller_study.prepare(replace(alone, saved=(Path(tmp_path / "darts.safetensors"),)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queries": 0}, "queries: got 0"),
        ({"seeds": 0}, "seeds: got 0, expected an integer ≥ 1, or some saved"),
        ({"memory": Memory()}, "memory.weight: got 0"),
    ],
)
def test_refusals(config, wrong, message):
    with pytest.raises(InputError, match=message):
        replace(config, **wrong)


@pytest.mark.parametrize("name", ["genotypes", "pairs", "states", "completions", "permutations"])
def test_too_few_to_look_at(name):
    with pytest.raises(InputError, match=f"{name}: got 0"):
        ProbeConfig(**{name: 0})
