"""Studies of predictors: regrets by hand, shuffled descriptions, resumption, and the commands that print them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from base_fast.cli import main
from base_fast.errors import InputError
from base_fast.experiments.intervals import sign_test
from base_fast.experiments.value_study import (
    HeldOut,
    ValueStudyConfig,
    average_worth,
    hold_out,
    shuffled,
    study_value,
)
from base_fast.predictors import Database, ValueConfig
from base_fast.runs import RunFolder
from base_fast.space import NAS_BENCH_201, compact
from tests.predictors.toys import database

VALUE = ValueConfig(members=1, genotype=4, hidden=8, steps=4, batch=32)
CONFIG = ValueStudyConfig(folds=2, value=VALUE)


def same_cells(tasks: int = 4, rows: int = 5) -> Database:
    """Every task has the genotypes of the first one; those of task t are worth (t + 1) · number."""
    first = database(tasks=tasks, rows=rows)
    values = torch.cat([(t + 1.0) * torch.arange(rows).double() for t in range(tasks)])
    return replace(first, choices=first.choices[:rows].repeat(tasks, 1, 1), values=values)


def test_regret_is_what_the_pick_lacks() -> None:
    rows = same_cells()
    found = hold_out(CONFIG, rows, [1, 3], fold=0)
    assert [one.task for one in found] == ["task1", "task3"]
    assert [one.regret["average"] for one in found] == [0.0, 0.0]
    assert [one.regret["random"] for one in found] == [4.0, 8.0]
    for one in found:
        assert 0.0 <= one.regret["true"] <= 16.0 and set(one.rho) <= {"true", "shuffled", "none", "average"}
    # A pick by the worst first: all the regret there is.
    backwards = replace(rows, values=torch.where(rows.task == 1, -rows.values, rows.values))
    assert hold_out(CONFIG, backwards, [1], fold=0)[0].regret["average"] == 8.0


def test_shuffled_descriptions_are_others() -> None:
    rows = same_cells(tasks=5)
    names = [task.name for task in shuffled(rows, 0).tasks]
    assert sorted(names) == [task.name for task in rows.tasks]
    assert all(name != task.name for name, task in zip(names, rows.tasks, strict=True))
    assert torch.equal(shuffled(rows, 0).values, rows.values)


def test_what_no_task_knows_is_worst() -> None:
    rows = database(tasks=2, rows=4)
    worth = average_worth(rows, [0], rows.choices)
    assert bool(torch.isfinite(worth[:4]).all()) and bool(worth[4:].isneginf().any())


def test_a_study_of_tasks_is_kept_task_by_task(tmp_path: Path) -> None:
    rows = same_cells()
    with RunFolder.create(tmp_path / "run", "study-value", CONFIG) as run:
        study = study_value(CONFIG, run, rows)
        assert sorted(one.task for one in study.held_out) == ["task0", "task1", "task2", "task3"]
        run.write("held_out/task2", HeldOut("kept", 0, {"true": 7.0}, {}))
        assert "kept" in [one.task for one in study_value(CONFIG, run, rows).held_out] or study.held_out[0].fold == 1


def write_table(path: Path) -> None:
    cells = torch.cartesian_prod(*[torch.arange(5)] * 6)[:: 15625 // 80].unsqueeze(1)
    with path.open("w") as file:
        out = csv.writer(file)
        out.writerow(["arch", "a", "b"])
        out.writerows([compact(z.numpy(), NAS_BENCH_201), int((z == 3).sum()), 2 * int((z == 3).sum())] for z in cells)


def test_the_command_on_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "table.csv")
    words = ["study-value", "--table", str(tmp_path / "table.csv"), "--source", "a", "--target", "b", "--rows", "20"]
    words += [
        "--seeds",
        "2",
        "--value.members",
        "1",
        "--value.steps",
        "3",
        "--ascent.steps",
        "2",
        "--ascent.starts",
        "2",
    ]
    # The ascent may end in genotypes that the table of 80 lacks: said in a line.
    status = main([*words, "--run", str(tmp_path / "run")])
    said = capsys.readouterr()
    assert (status == 0 and "first pick" in said.out) or "no row for" in said.err
    assert main(["study-value", "--run", str(tmp_path / "other")]) == 1
    assert "expected exactly one of them" in capsys.readouterr().err


def test_the_command_on_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same_cells().save(tmp_path / "database.safetensors")
    words = ["study-value", "--database", str(tmp_path / "database.safetensors"), "--folds", "2"]
    words += ["--value.members", "1", "--value.steps", "3", "--value.batch", "16"]
    assert main([*words, "--run", str(tmp_path / "run")]) == 0
    assert "shuffled" in capsys.readouterr().out
    assert main([*words, "--run", str(tmp_path / "run"), "--resume"]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "Held-out tasks" in (tmp_path / "run/report/index.html").read_text()
    with pytest.raises(InputError, match="seeds: got 1"):
        ValueStudyConfig(seeds=1)


def test_the_parts_of_nao(tmp_path: Path, capsys: pytest.CaptureFixture[str], shared: Path) -> None:
    words = ["study-nao", "--table", str(shared / "data/nasbench201/accuracy.csv.gz"), "--rows", "30", "--seeds", "2"]
    words += ["--nao.model.steps", "3", "--nao.round", "5", "--nao.parents", "3", "--run", str(tmp_path / "run")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "pairwise accuracy, held-out" in said and "proposals less neighbours" in said


def test_the_sign_test_is_exact() -> None:
    assert sign_test([1.0] * 10) == pytest.approx(2 / 1024)
    assert sign_test([1.0, -1.0, 0.0]) == 1.0
    assert sign_test([]) == 1.0
    assert sign_test([1.0] * 9 + [-1.0]) == pytest.approx(2 * 11 / 1024)
