"""Collections on many tasks: every row is a training, in any number of processes, after a stop as well."""

from __future__ import annotations

import csv
import importlib
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from base_fast.errors import InputError, Interrupted
from base_fast.evaluation import NetworkConfig, TrainConfig
from base_fast.experiments import CollectConfig
from base_fast.experiments.collect import ManyTasksConfig, draw, genotype_of, measured
from base_fast.experiments.collect_tasks import collect_tasks, prepare_tasks, task_of
from base_fast.predictors import Database
from base_fast.random import key
from base_fast.reports import write_report
from base_fast.runs import RunFolder, load_config
from base_fast.space import NAS_BENCH_201
from base_fast.tasks import TaskConfig, describe

ROOT = Path(__file__).resolve().parents[2]
MODULE = importlib.import_module("base_fast.experiments.collect")

CONFIG = CollectConfig(
    space="nas_bench_201",
    cells=2,
    network=NetworkConfig("nas_bench_201", channels=2, layers=5, device="cpu"),
    train=TrainConfig(steps=1, batch_size=8, augmentation="none", drop_path=0.0),
    tasks=ManyTasksConfig(3, (TaskConfig(ways=(2, 4), resolutions=(8,), examples_per_class=(8, 12)),)),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Database]:
    run = RunFolder.create(tmp_path_factory.mktemp("collect") / "run", "collect-tasks", CONFIG)
    return run, collect_tasks(CONFIG, run)


def files(run: RunFolder) -> tuple[bytes, bytes]:
    return (run.path / "database.csv").read_bytes(), (run.path / "database.safetensors").read_bytes()


def test_every_row_is_a_training_on_its_task(whole: tuple[RunFolder, Database]) -> None:
    run, database = whole
    assert [len(database.rows(task)) for task in range(3)] == [2, 2, 2]
    opened = prepare_tasks(CONFIG)
    task = task_of(CONFIG, opened, 1)
    cells = draw(NAS_BENCH_201, 2, key(0))
    values = measured(CONFIG, genotype_of(cells[1], NAS_BENCH_201), task)
    row = int(database.rows(1)[1])
    assert database.values[row] == values[0]
    assert torch.equal(database.choices[row], cells[1])
    described = describe(task)
    assert database.tasks[1].name == described.name == task.name
    assert torch.equal(database.tasks[1].features, described.features)
    assert torch.equal(database.tasks[1].images, described.images)
    assert len({one.name for one in database.tasks}) == 3
    with (run.path / "database.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [one["task"] for one in rows] == ["0", "0", "1", "1", "2", "2"]
    assert float(rows[row]["loss"]) == values[1]


def test_the_file_is_read_to_the_same_bits(whole: tuple[RunFolder, Database]) -> None:
    run, database = whole
    read = Database.load(run.path / "database.safetensors")
    assert torch.equal(read.values, database.values)
    assert torch.equal(read.choices, database.choices)
    assert [one.name for one in read.tasks] == [one.name for one in database.tasks]
    assert torch.equal(read.tasks[2].labels, database.tasks[2].labels)
    assert "Tasks" in write_report(run.path).read_text()


def test_ctrl_c_stops_in_a_training_and_resumes(
    whole: tuple[RunFolder, Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = MODULE.train, []

    def interrupt(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    with monkeypatch.context() as patch, RunFolder.create(tmp_path / "run", "collect-tasks", CONFIG) as run:
        patch.setattr(MODULE, "train", interrupt)
        with pytest.raises(Interrupted, match="^collect: stopped after 3 of 6 trainings$"):
            collect_tasks(CONFIG, run)
        assert len(Database.load(run.path / "database.safetensors")) == 2
    with RunFolder.create(tmp_path / "run", "collect-tasks", CONFIG, resume=True) as again:
        collect_tasks(CONFIG, again)
        assert files(again) == files(whole[0])


def test_processes_give_the_same_bits(whole: tuple[RunFolder, Database], tmp_path: Path) -> None:
    assert CONFIG.tasks is not None
    config = replace(CONFIG, tasks=replace(CONFIG.tasks, processes=2))
    with RunFolder.create(tmp_path / "run", "collect-tasks", config) as run:
        collect_tasks(config, run)
        assert files(run) == files(whole[0])


def test_smaller_collections_come_first() -> None:
    assert CONFIG.tasks is not None
    opened = prepare_tasks(CONFIG)
    tasks = [task_of(CONFIG, opened, i) for i in range(8)]
    assert {task.num_classes for task in tasks} == {2, 3, 4}
    counts = {(len(task.train) + len(task.valid)) // task.num_classes for task in tasks}
    assert min(counts) >= 8 and max(counts) <= 12 and len(counts) > 2
    assert all(len(task.train.labels.bincount().unique()) == 1 for task in tasks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 0}, "number: got 0"),
        ({"processes": 0}, "processes: got 0"),
        ({"drawn": ()}, "drawn: got none"),
        ({"drawn": (TaskConfig(examples_per_class=(9, 8)),)}, "examples_per_class: \\(9, 8\\)"),
        ({"drawn": (TaskConfig(examples_per_class=(8, 8000)),)}, "examples_per_class: 8000 needed"),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    assert CONFIG.tasks is not None
    with pytest.raises(InputError, match=message):
        prepare_tasks(replace(CONFIG, tasks=replace(CONFIG.tasks, **change)))


def test_the_example_file_loads() -> None:
    config = load_config(ROOT / "examples/collect_tasks.toml", CollectConfig)
    assert config.tasks is not None
    assert config.tasks.drawn[0].examples_per_class == (30, 100)
