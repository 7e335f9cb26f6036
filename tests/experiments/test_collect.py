"""Collections of random cells on digits: the file, its bits after a kill, and the places of cells in it."""

from __future__ import annotations

import csv
import importlib
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from base_fast.errors import InputError, Interrupted
from base_fast.evaluation import NetworkConfig, TrainConfig, train, trained
from base_fast.experiments import CollectConfig, collect, draw, place, read_cells
from base_fast.objectives import Quantity, Table
from base_fast.random import key
from base_fast.runs import RunFolder, load_config
from base_fast.space import DARTS, NAS_BENCH_201, Genotype, Space, encode
from base_fast.tasks import TargetConfig, open_target

ROOT = Path(__file__).resolve().parents[2]
# The package has a function of the module's name.
MODULE = importlib.import_module("base_fast.experiments.collect")

CONFIG = CollectConfig(
    cells=3,
    network=NetworkConfig(channels=2, layers=2, device="cpu"),
    train=TrainConfig(steps=2, batch_size=16, augmentation="none", drop_path=0.0, seed=5),
    target=TargetConfig(resolution=8, limit_per_class=20),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Table]:
    run = RunFolder.create(tmp_path_factory.mktemp("collect") / "run", "collect", CONFIG)
    return run, collect(CONFIG, run)


def lines(run: RunFolder) -> bytes:
    return (run.path / "cells.csv").read_bytes()


def test_every_row_is_a_training_of_its_genotype(whole: tuple[RunFolder, Table]) -> None:
    run, table = whole
    task = open_target(CONFIG.target)
    with (run.path / "cells.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["arch", "accuracy", "loss", "parameters", "macs", "seed"]
    assert len({row["arch"] for row in rows}) == len(rows) == 3
    row = rows[1]
    network = CONFIG.network.build(Genotype.parse(row["arch"]), 10, 5)
    found = trained(network, task, train(network, task, CONFIG.train))
    assert float(row["accuracy"]) == 100.0 * found.accuracy
    assert float(row["loss"]) == found.loss
    assert (int(row["parameters"]), int(row["macs"]), row["seed"]) == (found.parameters, found.macs, "5")
    choices = torch.from_numpy(encode(row["arch"], DARTS))
    assert torch.equal(choices, table.choices[1])


def test_the_file_is_a_table(whole: tuple[RunFolder, Table]) -> None:
    run, table = whole
    read = read_cells(run.path / "cells.csv", DARTS)
    assert torch.equal(read.choices, table.choices)
    assert torch.equal(read.values, table.values)
    assert sorted(read.ranks("accuracy", read.choices).tolist())[0] == 1


def test_metrics_have_a_row_for_each_cell(whole: tuple[RunFolder, Table]) -> None:
    run, table = whole
    rows = run.rows()
    assert [row["phase"] for row in rows] == ["collect"] * 3
    assert [row["macs"] for row in rows] == table.values[:, 3].tolist()


@pytest.mark.parametrize("moment", ["within", "between file and checkpoint", "between"])
def test_a_collection_that_was_killed_resumes_to_the_same_bits(
    whole: tuple[RunFolder, Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    owner, name = {
        "within": (MODULE, "train"),
        "between file and checkpoint": (RunFolder, "log"),
        "between": (RunFolder, "save_checkpoint"),
    }[moment]
    original, calls = getattr(owner, name), []

    def cut(*arguments: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == 2 and moment != "between":
            raise KeyboardInterrupt
        result = original(*arguments, **named)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return result

    run = RunFolder.create(tmp_path / "run", "collect", CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, cut)
        with pytest.raises(KeyboardInterrupt):
            collect(CONFIG, run)
    run.close()
    assert len(read_cells(tmp_path / "run/cells.csv", DARTS)) == (1 if moment == "within" else 2)
    again = RunFolder.create(tmp_path / "run", "collect", CONFIG, resume=True)
    assert torch.equal(collect(CONFIG, again).values, whole[1].values)
    assert lines(again) == lines(whole[0])


def test_ctrl_c_stops_in_the_cell_and_resumes(
    whole: tuple[RunFolder, Table], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = MODULE.train, []

    def interrupt(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    with monkeypatch.context() as patch, RunFolder.create(tmp_path / "run", "collect", CONFIG) as run:
        patch.setattr(MODULE, "train", interrupt)
        with pytest.raises(Interrupted, match="^collect: stopped after 1 of 3 cells$"):
            collect(CONFIG, run)
    with RunFolder.create(tmp_path / "run", "collect", CONFIG, resume=True) as again:
        collect(CONFIG, again)
        assert lines(again) == lines(whole[0])


def test_other_images_do_not_continue_a_collection(tmp_path: Path) -> None:
    config = replace(CONFIG, cells=1)
    run = RunFolder.create(tmp_path / "run", "collect", config)
    collect(config, run)
    with pytest.raises(InputError, match="data set: got"):
        collect(config, run, open_target(replace(CONFIG.target, limit_per_class=10)))


def test_genotypes_are_different_and_a_smaller_draw_comes_first() -> None:
    cells = draw(NAS_BENCH_201, 600, key(3))
    assert len(cells.unique(dim=0)) == 600
    assert torch.equal(draw(NAS_BENCH_201, 40, key(3)), cells[:40])
    assert not torch.equal(draw(NAS_BENCH_201, 40, key(4)), cells[:40])


def test_a_whole_space_can_be_drawn_and_no_more() -> None:
    space = Space("tiny", ("none", "skip_connect", "nor_conv_1x1"), 1, 2, ("normal",), (2,), None)
    assert len(draw(space, 27, key(0)).unique(dim=0)) == 27
    with pytest.raises(InputError, match="cells: got 28, expected at most the 27 genotypes of tiny"):
        draw(space, 28, key(0))


@pytest.mark.parametrize(("name", "value", "message"), [("cells", 0, "cells: got 0"), ("space", "drats", "darts")])
def test_refusals(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **{name: value})


def test_the_example_file_loads() -> None:
    config = load_config(ROOT / "examples/collect_darts.toml", CollectConfig)
    assert config.target.train.split == "train"
    assert config.target.valid is not None and config.target.valid.split == "test"


def database(accuracy: list[float], macs: list[float], name: str = "accuracy") -> Table:
    quantities = [Quantity(name, "smaller" if name == "loss" else "larger", ""), Quantity("macs", "smaller", "")]
    values = torch.tensor([accuracy, macs], dtype=torch.float64).T
    return Table(NAS_BENCH_201, draw(NAS_BENCH_201, len(macs), key(0)), quantities, values)


def test_a_place_is_the_share_of_like_cells_that_are_worse() -> None:
    # Within 20 % of 100: from 80 to 120, both included. Of these four two are worse, and one is a tie.
    table = database([10.0, 20.0, 30.0, 40.0, 0.0, 0.0], [80.0, 90.0, 100.0, 120.0, 79.0, 121.0])
    placed = place(table, 30.0, 100.0, at_least=4)
    assert (placed.percentile, placed.neighbours) == (100.0 * 2.5 / 4, 4)
    assert place(table, 30.0, 100.0, at_least=4) == placed
    assert 0.0 <= placed.low < placed.percentile < placed.high <= 100.0
    # Five that are nearest in ratio: 121 is nearer to 100 than 79 is.
    assert place(table, 30.0, 100.0, at_least=5) == place(table, 30.0, 100.0, tolerance=0.0, at_least=5)
    assert place(table, 30.0, 100.0, at_least=5).percentile == 100.0 * 3.5 / 5
    assert place(table, 30.0, 100.0).neighbours == 6


def test_smaller_may_be_better() -> None:
    table = database([1.0, 2.0, 3.0, 4.0], [100.0] * 4, "loss")
    assert place(table, 1.5, 100.0, name="loss").percentile == 75.0


def test_the_interval_is_that_of_a_binomial_share() -> None:
    table = database([float(i) for i in range(400)], [100.0] * 400)
    placed = place(table, 99.5, 100.0)
    assert placed.percentile == 25.0
    half = 100.0 * 1.96 * math.sqrt(0.25 * 0.75 / 400)
    # A share of 400 moves in steps of 0.25; 10,000 draws leave each end less than that uncertain.
    assert placed.low == pytest.approx(25.0 - half, abs=0.4)
    assert placed.high == pytest.approx(25.0 + half, abs=0.4)
    best = place(table, 400.0, 100.0)
    assert (best.percentile, best.low, best.high) == (100.0, 100.0, 100.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"accuracy": math.nan}, "accuracy: got nan"),
        ({"macs": 0.0}, "macs: got 0"),
        ({"tolerance": -0.1}, "tolerance: got -0.1"),
        ({"at_least": 0}, "at_least: got 0"),
        ({"name": "top5"}, "table: no column 'top5', expected one of accuracy, macs"),
    ],
)
def test_what_cannot_be_placed_is_refused(given: dict[str, Any], message: str) -> None:
    table = database([1.0, 2.0], [100.0, 100.0])
    with pytest.raises(InputError, match=message):
        place(table, **{"accuracy": 1.0, "macs": 100.0, **given})
    with pytest.raises(InputError, match="expected positive numbers"):
        place(database([1.0, 2.0], [0.0, 1.0]), 1.0, 100.0)
