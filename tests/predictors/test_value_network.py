"""Value networks: invariances, losses, what they learn of tasks, files, and the bits after a stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.objectives import rank_correlation
from base_fast.predictors import Database, Fitting, ValueConfig, ValueNetwork, fit
from base_fast.predictors.ensemble import initialized, views
from base_fast.predictors.genotypes import (
    discretized,
    encode_genotypes,
    fresh_logits,
    genotype_shapes,
    one_hot,
    relaxed,
)
from base_fast.random import generator, key
from base_fast.runs import RunFolder, run_loop
from base_fast.runs.storage import load_tensors, save_tensors
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO, AnySpace, kept
from base_fast.tasks import TaskDescription
from tests.predictors.toys import SMALL, count, database, described

QUICK = ValueConfig(members=2, genotype=8, hidden=16, steps=120, batch=64, lr=1e-2)


@pytest.fixture(scope="module")
def learned() -> ValueNetwork:
    return fit(database(), QUICK)


def rho(network: ValueNetwork, bright: float, primitive: str) -> float:
    cells = IndependentEdges.uniform(NAS_BENCH_201).sample(key(99), 200)
    value = network.value(cells, described("new", bright)).double()
    return rank_correlation(value, count(NAS_BENCH_201, cells, primitive)).spearman


def test_it_orders_new_genotypes_on_new_tasks_by_what_the_task_is(learned: ValueNetwork) -> None:
    assert rho(learned, 0.75, "nor_conv_3x3") > 0.6
    assert rho(learned, 0.25, "skip_connect") > 0.6
    assert rho(learned, 0.25, "nor_conv_3x3") < 0.2


def test_images_say_the_same() -> None:
    network = fit(database(), replace(QUICK, task="images"))
    assert rho(network, 0.8, "nor_conv_3x3") > 0.4
    assert rho(network, 0.2, "skip_connect") > 0.4
    blind = fit(database(), replace(QUICK, task="none", steps=20))
    cells = IndependentEdges.uniform(NAS_BENCH_201).sample(key(99), 5)
    assert torch.equal(blind.value(cells, described("a", 0.8)), blind.value(cells, described("b", 0.2)))


def test_values_are_in_standard_deviations_within_a_task(learned: ValueNetwork) -> None:
    rows = database()
    found = [learned.value(rows.choices[rows.rows(t)], task) for t, task in enumerate(rows.tasks)]
    assert torch.stack([x.mean() for x in found]).mean().item() == pytest.approx(0.0, abs=1e-5)
    assert torch.stack([x.std(correction=0) for x in found]).mean().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("loss", ["ranking", "squared"])
def test_the_loss_is_its_formula(loss: Any) -> None:
    # One task of two genotypes, nothing mixed or dropped: a batch of many rows holds each of the four pairs.
    rows = database(tasks=2, rows=2).only([1])
    rows = Database(rows.space, rows.quantity, rows.tasks, rows.task, rows.choices, torch.tensor([1.0, 3.0]).double())
    config = ValueConfig(members=1, loss=loss, focus=0.0, noise=0.0, dropout=0.0, batch=64)
    fitting = Fitting(rows, config)
    weights = initialized(fitting.shapes, 1, key(3))
    found = fitting._loss(weights, generator(key(4))).item()
    value = ValueNetwork(rows.space, config, weights, fitting.mean, fitting.std, 0.0, 1.0, ()).value(
        rows.choices, rows.tasks[0]
    )
    if loss == "ranking":
        expected = torch.log1p(torch.exp(value[0] - value[1])).item()
        assert found == pytest.approx(expected, rel=1e-5)
    else:
        each = (value - torch.tensor([-1.0, 1.0])).square()
        assert min(each) - 1e-5 <= found <= max(each) + 1e-5
        assert fitting.targets.tolist() == [-1.0, 1.0]


def test_cells_that_compute_the_same_have_one_vector() -> None:
    space = NAS_BENCH_201
    p = views(initialized(genotype_shapes(space, 8), 2, key(0)), genotype_shapes(space, 8))
    none, conv = space.primitives.index("none"), space.primitives.index("nor_conv_3x3")
    dead = torch.full((1, 1, 6), none)
    assert encode_genotypes(space, p, one_hot(space, dead)).abs().max().item() == 0.0
    # Edge 0 leads to node 1, from which nothing goes on: what it has makes no difference; edge 3 is 0 → 3.
    one = dead.clone()
    one[0, 0, 3] = conv
    other = one.clone()
    other[0, 0, 0] = conv
    a, b = (encode_genotypes(space, p, one_hot(space, z)) for z in (one, other))
    assert torch.equal(a, b) and a.abs().max().item() > 0.0


@pytest.mark.parametrize("space", [NAS_BENCH_201, DARTS, NAS_BENCH_MACRO, SMALL])
def test_relaxed_points_are_means_of_genotypes(space: AnySpace) -> None:
    logits = fresh_logits(space, 3, 1.0, generator(key(0)))
    z, entropy = relaxed(space, logits)
    assert z.shape == (3, len(space.cell_types), space.num_edges, space.num_primitives)
    assert torch.allclose(z.sum(dim=-1), torch.ones(z.shape[:-1]), atol=1e-6)
    choices = discretized(space, logits)
    assert kept(choices.numpy(), space).all()
    sharp, small = relaxed(space, [1e7 * x for x in logits])
    assert torch.allclose(sharp, one_hot(space, choices), atol=1e-6)
    assert bool((small.abs() < 1e-3).all()) and bool((entropy > 0.1).all())


def test_a_network_is_saved_and_loaded_to_the_same_bits(learned: ValueNetwork, tmp_path: Path) -> None:
    learned.save(tmp_path / "value.safetensors")
    read = ValueNetwork.load(tmp_path / "value.safetensors")
    cells = IndependentEdges.uniform(NAS_BENCH_201).sample(key(1), 20)
    task = described("new", 0.5)
    assert torch.equal(read.value(cells, task), learned.value(cells, task))
    assert read.fitted == learned.fitted and read.config == learned.config
    tensors, header = load_tensors(tmp_path / "value.safetensors")
    for change in ({"kind": "other"}, {"features": ["a"]}, {"config": {"members": 3}}, {"space": None}):
        save_tensors(tmp_path / "bad.safetensors", tensors, header | change)
        with pytest.raises(InputError):
            ValueNetwork.load(tmp_path / "bad.safetensors")


def test_a_stopped_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    config = replace(QUICK, steps=6)
    whole = fit(database(), config)
    process = Fitting(database(), config)
    with RunFolder.create(tmp_path / "run", "fit-value", config) as run:
        first = run_loop(process, name="fit", total=3, run=run).state
        assert first.step == 3
        tensors, header = process.pack(first)
        again = process.unpack(tensors, header)
        assert torch.equal(again.weights, first.weights)
        # A loop of more steps goes on where the shorter one ended, were it not for its end.
        state = first
        for _ in range(3):
            state = process.step(state, _Clock()).state
    assert torch.equal(process.network(state).weights, whole.weights)


class _Clock:
    def limit(self) -> None:
        return None


def test_what_is_not_known_of_a_task_is_not_seen(learned: ValueNetwork) -> None:
    unknown = TaskDescription.of_numbers("unknown")
    cells = IndependentEdges.uniform(NAS_BENCH_201).sample(key(1), 20)
    assert bool(torch.isfinite(learned.value(cells, unknown)).all())
    middle = described("middle", 0.5)
    assert torch.allclose(learned.value(cells, unknown), learned.value(cells, middle), atol=1e-4)


def test_databases_of_tables_keep_their_tasks(tmp_path: Path) -> None:
    rows = database(tasks=3, rows=4)
    part = rows.only([2, 0])
    assert [task.name for task in part.tasks] == ["task2", "task0"]
    assert torch.equal(part.values[part.rows(0)], rows.values[rows.rows(2)])
    rows.save(tmp_path / "database.safetensors")
    read = Database.load(tmp_path / "database.safetensors")
    assert torch.equal(read.values, rows.values) and torch.equal(read.tasks[1].images, rows.tasks[1].images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": 0}, "members: got 0"),
        ({"lr": 0.0}, "lr: got 0"),
        ({"noise": 1.0}, "noise: got 1"),
        ({"batch": 1}, "batch: got 1"),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(QUICK, **change)


def test_equal_values_teach_nothing() -> None:
    rows = database(tasks=1, rows=3)
    same = Database(rows.space, rows.quantity, rows.tasks, rows.task, rows.choices, torch.ones(3).double())
    with pytest.raises(InputError, match="task0 has 3 rows of one value"):
        fit(same, QUICK)
