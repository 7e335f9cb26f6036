from __future__ import annotations

import signal
from dataclasses import replace

import pytest
import torch

from base_fast import Supernet
from base_fast.errors import InputError, Interrupted
from base_fast.evaluation import NetworkConfig, TrainConfig, count_parameters, train
from base_fast.meta import Variables, accuracy_and_loss
from base_fast.objectives import (
    Latency,
    ObjectiveConfig,
    OwnSteps,
    OwnStepsConfig,
    SharedTrainingConfig,
    SharedWeights,
    SharedWeightsConfig,
    Size,
    TableConfig,
    Together,
    Trained,
    open_objective,
)
from base_fast.objectives.networks import build
from base_fast.random import fold_in, key
from base_fast.space import DARTS, NAS_BENCH_201, NAS_BENCH_MACRO
from base_fast.tasks import Split
from tests.meta.toys import task
from tests.objectives import toys

TASK = task(key(0), train=24)
NETWORK = NetworkConfig("nas_bench_201", channels=4, layers=5, device="cpu")
TRAIN = TrainConfig(steps=3, batch_size=8, augmentation="none")
# 3×3 convolutions everywhere, and skips everywhere.
CELLS = torch.tensor([[[3] * 6], [[1] * 6]])


def posterior(tmp_path, classes=3):
    supernet = Supernet(NAS_BENCH_201, 4, 5, classes)
    found = supernet.prior(key(1), mu_scale=1.0)
    mu = found.mu.clone()
    mu[supernet.head] = 0.1 * torch.randn(supernet.head.stop - supernet.head.start)
    found = replace(found, mu=mu)
    found.save(tmp_path / "posterior.safetensors")
    return supernet, found


def test_shared_weights_are_the_supernets_own_accuracy(tmp_path):
    supernet, found = posterior(tmp_path)
    objective = SharedWeights(supernet, found.mu, TASK.valid, images=8)
    measured = objective.measure(CELLS, key(0))
    for choices, (accuracy, loss) in zip(CELLS, measured.values.tolist(), strict=True):
        alpha = 100.0 * torch.nn.functional.one_hot(choices, 5).float()
        q = Variables(found.mu, found.rho, alpha)
        expected = accuracy_and_loss(supernet, q, TASK.valid, at="hard", images=8)
        assert (accuracy / 100, loss) == pytest.approx(expected)
    assert measured.costs.tolist() == [[8.0], [8.0]]
    assert measured.values[0, 1] != measured.values[1, 1]
    with pytest.raises(InputError, match="images"):
        SharedWeights(supernet, found.mu, TASK.valid, images=0)


def test_trained_is_a_training_seeded_by_the_key():
    objective = Trained(NAS_BENCH_201, TASK, NETWORK, TRAIN)
    one = objective.measure(CELLS, key(5))
    seed = int(fold_in(key(5), 1)[0]) % 2**31
    network = build(CELLS[1], NAS_BENCH_201, NETWORK, 3, seed)
    result = train(network, TASK, replace(TRAIN, seed=seed))
    assert one.values[1].tolist() == [100.0 * result.accuracy, result.loss]
    assert one.costs.tolist() == [[3.0], [3.0]]
    assert objective.measure(CELLS, key(6)).values[0, 1] != one.values[0, 1]


def test_size_and_latency():
    size = Size(NAS_BENCH_201, NETWORK, 3, 8).measure(CELLS, key(0))
    assert size.values[0, 0].item() == count_parameters(build(CELLS[0], NAS_BENCH_201, NETWORK, 3, 0))
    assert size.values[0, 1] > size.values[1, 1] > 0 and size.costs.shape == (2, 0)
    latency = Latency(NAS_BENCH_201, NETWORK, 3, 8, repeats=2).measure(CELLS, key(0))
    assert (latency.values > 0).all() and latency.costs.tolist() == [[2.0], [2.0]]
    with pytest.raises(InputError, match="repeats"):
        Latency(NAS_BENCH_201, NETWORK, 3, 8, repeats=0)


def test_several_at_once(tmp_path):
    toys.write_csv(tmp_path / "t.csv.gz")
    tables = (TableConfig(tmp_path / "t.csv.gz", ("valid",)),)
    config = ObjectiveConfig(("table", "size"), tables, network=NETWORK)
    assert config.needs_task and not ObjectiveConfig(tables=tables).needs_task
    both = open_objective(config, NAS_BENCH_201, TASK)
    assert [q.name for q in both.quantities] == ["valid", "parameters", "macs"]
    assert [q.sign for q in both.quantities] == [1.0, -1.0, -1.0]
    found = both.measure(CELLS, key(0))
    assert torch.equal(found.values[:, 0], toys.accuracy(CELLS))
    assert torch.equal(found.values[:, 1:], Size(NAS_BENCH_201, NETWORK, 3, 8).measure(CELLS, key(0)).values)
    assert both.costs == ("look-ups",) and found.costs.tolist() == [[1.0], [1.0]]
    table = toys.table()
    with pytest.raises(InputError, match="2 quantities called 'valid'"):
        Together([table, table])
    with pytest.raises(InputError, match="nas_bench_201 and darts"):
        Together([table, Size(DARTS, NETWORK, 3, 8)])
    with pytest.raises(InputError, match="none"):
        Together([])


def test_every_kind_opens(tmp_path):
    supernet, found = posterior(tmp_path)
    weights = SharedWeightsConfig(tmp_path / "posterior.safetensors", images=4)
    kinds = ("shared_weights", "size", "latency")
    network = replace(NETWORK, device="cpu")
    both = open_objective(ObjectiveConfig(kinds, (), weights, network=network, latency_repeats=1), NAS_BENCH_201, TASK)
    assert both.measure(CELLS, key(0)).values.shape == (2, 5)
    trained = open_objective(ObjectiveConfig(("trained",), (), network=network, train=TRAIN), NAS_BENCH_201, TASK)
    assert trained.measure(CELLS[:1], key(0)).values.shape == (1, 2)
    own = OwnStepsConfig(SharedTrainingConfig(2, 4), images=4)
    config = ObjectiveConfig(("own_steps",), (), weights, own, network)
    steps = open_objective(config, NAS_BENCH_201, TASK)
    assert [quantity.name for quantity in steps.quantities] == ["accuracy", "loss", "training_loss"]
    expected = OwnSteps(supernet, found.mu, TASK, own).measure(CELLS, fold_in(key(0), 0))
    assert torch.equal(steps.measure(CELLS, key(0)).values, expected.values)
    assert steps.spent(expected.costs) == {"training steps": 4.0}


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match="different ones of table, shared_weights"):
        ObjectiveConfig(())
    with pytest.raises(InputError, match="tables: got none"):
        ObjectiveConfig(tables=())
    size = ObjectiveConfig(("size",))
    with pytest.raises(InputError, match="no cells to build"):
        open_objective(size, NAS_BENCH_MACRO, TASK)
    with pytest.raises(InputError, match="expected images"):
        open_objective(size, NAS_BENCH_201)
    for kind in ("shared_weights", "own_steps"):
        with pytest.raises(InputError, match="posterior: not given"):
            open_objective(ObjectiveConfig((kind,)), NAS_BENCH_201, TASK)
    with pytest.raises(InputError, match="images: got 0"):
        OwnStepsConfig(images=0)
    _, found = posterior(tmp_path, classes=4)
    shared = ObjectiveConfig(
        ("shared_weights",), shared_weights=SharedWeightsConfig(tmp_path / "posterior.safetensors"), network=NETWORK
    )
    with pytest.raises(InputError, match="head of 4 outputs"):
        open_objective(shared, NAS_BENCH_201, TASK)
    with pytest.raises(InputError, match="'nas_bench_201', expected 'darts'"):
        open_objective(shared, DARTS, TASK)
    assert found.space == NAS_BENCH_201


def test_an_interrupted_training_interrupts_the_measurement(monkeypatch):
    batch = Split.batch

    def signalled(self, *arguments):
        signal.raise_signal(signal.SIGTERM)
        return batch(self, *arguments)

    monkeypatch.setattr(Split, "batch", signalled)
    with pytest.raises(Interrupted, match="while a genotype was trained"):
        Trained(NAS_BENCH_201, TASK, NETWORK, TRAIN).measure(CELLS, key(0))
