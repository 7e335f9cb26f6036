"""Comparisons of strategies: what is looked up, what is promised, which processes run, and when they stop."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from base_fast.distributions import Controller, Empirical, IndependentEdges
from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.experiments import ComparedStrategies, CompareStrategiesConfig, Variant, compare_strategies
from base_fast.experiments.findings import Judge, Place
from base_fast.experiments.intervals import student_interval, t975
from base_fast.experiments.processes import Job, last_words, run_jobs
from base_fast.experiments.published_cells import PUBLISHED
from base_fast.experiments.strategy_comparison import Prepared, _affordable, published
from base_fast.objectives import Quantity, Table
from base_fast.random import key
from base_fast.runs import RunFolder, load_config, save_config
from base_fast.runs.lock import hold
from base_fast.space import NAS_BENCH_201, compact, encode
from base_fast.strategies import (
    Base,
    Cost,
    Darts,
    EnasSharing,
    Projection,
    RandomSharing,
    SearchSettings,
    SharedTrainingConfig,
)
from tests.objectives import toys

TABLE = toys.table()
JUDGE = Judge(TABLE, ("test", "valid"))
SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"


def test_what_a_distribution_promises_is_its_mean_over_all_genotypes():
    logits = 2.0 * torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = IndependentEdges(NAS_BENCH_201, logits)
    # The toy table is additive: the mean of a sum is the sum of the edges' means.
    scale = torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0, 2.0], dtype=torch.float64)
    exact = 50.0 + ((torch.softmax(logits[0], dim=-1) @ toys.WORTH) * scale).sum().item()
    assert JUDGE.expected(q)["valid"] == pytest.approx(exact, rel=1e-12)
    members = TABLE.choices[[3, 3, 77]]
    mean = TABLE.values[[3, 3, 77]].mean(dim=0)
    assert torch.allclose(TABLE.expected(Empirical(NAS_BENCH_201, members)), mean, rtol=1e-12, atol=0.0)
    controller = Controller.fresh(NAS_BENCH_201, key(1), hidden=4)
    sampled = toys.accuracy(controller.sample(key(2), 4000))
    # Within four standard errors of the mean of 4000.
    assert abs(JUDGE.expected(controller)["valid"] - sampled.mean()) < 4 * sampled.std() / 4000**0.5
    half = Table(NAS_BENCH_201, TABLE.choices[:99], TABLE.quantities, TABLE.values[:99])
    assert half.expected(q) is None and half.expected(Empirical(NAS_BENCH_201, half.choices[:2])) is not None


def test_places_skips_and_published_cells():
    assert JUDGE.skips(SKIPS) == 6
    row = int(TABLE.rows(torch.from_numpy(encode(SKIPS, NAS_BENCH_201)).unsqueeze(0)))
    better = int((TABLE.values[:, 0] > TABLE.values[row, 0]).sum())
    assert JUDGE.places(SKIPS)["valid"] == Place(TABLE.values[row, 0].item(), better + 1, 100.0 * better / 15625)
    found = list(published(JUDGE))
    assert len(found) == sum(len(one.cells) for one in PUBLISHED) == 19
    assert [one.skips for one in found[:6]] == [6] * 6 and all(one.cost is None for one in found)


def test_the_published_cells_are_where_the_literature_has_them(shared):
    path = shared / "data/nasbench201/accuracy.csv.gz"
    table = CompareStrategiesConfig(
        table=path, query="cifar10_test", judge=("cifar10_test", "cifar100_test")
    ).open_table()
    judge = Judge(table, ("cifar10_test", "cifar100_test"))
    assert judge.expected(IndependentEdges.uniform(NAS_BENCH_201))["cifar10_test"] == pytest.approx(75.98, abs=0.01)
    values: dict[str, list[float]] = {}
    for one in published(judge):
        values.setdefault(one.strategy, []).append(one.places["cifar10_test"].value)
    assert values["GDAS, CIFAR-10"] == [85.45, 82.24, 81.09]
    assert values["DARTS first order, CIFAR-10"] == [36.84] * 3
    assert values["DARTS second order, CIFAR-100"] == [66.28, 78.50, 85.96]
    best = list(published(judge))[-1]
    assert best.places["cifar10_test"].rank == 5 and best.places["cifar100_test"].rank == 9


def test_curves():
    cells = [TABLE.choices[i] for i in (100, 9000, 50, 15124)]
    worth = [toys.accuracy(cell.unsqueeze(0)).item() for cell in cells]
    assert worth[1] > worth[0] > worth[2] and worth[3] > worth[1]
    texts = [compact(cell.numpy(), NAS_BENCH_201) for cell in cells]
    rows = [
        {"step": 10 * i, "values": {"valid": w}, "genotype": t}
        for i, (w, t) in enumerate(zip(worth, texts, strict=True))
    ]
    curve = JUDGE.best_so_far(rows[:3], Quantity("valid", "larger", "%"))
    found = [(point.step, point.values["valid"]) for point in curve]
    assert found == [(0, worth[0]), (9, worth[0]), (10, worth[1]), (20, worth[1])]
    fewer = JUDGE.best_so_far(rows, Quantity("valid", "smaller", "%"))
    assert [point.values["valid"] for point in fewer] == [worth[0], worth[0], worth[2], worth[2]]
    # What a distribution says on the way: its own mean, and the cell that is derived or its mode.
    p = torch.full((1, 6, 5), 0.2, dtype=torch.float64)
    p[0, :, 3], p[0, :, :3], p[0, :, 4] = 1.0, 0.0, 0.0
    told = [{"step": i, "probabilities": p.tolist()} for i in range(100)] + [{"step": 100, "loss": 1.0}]
    told[99] = told[99] | {"derived": texts[0]}
    course = JUDGE.course(told)
    assert len(course) == 40 and course[0].step == 0 and course[-1].step == 99
    best = 50.0 + 4.0 * 12.0
    assert course[0].values["valid"] == best and course[-1].values["valid"] == worth[0]
    assert course[0].expected["valid"] == pytest.approx(best)
    assert JUDGE.course([{"step": 1, "loss": 1.0}]) == ()


def test_students_interval():
    low, high = student_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2.0 - 2.484, 2.0 + 2.484), abs=1e-3)
    assert student_interval([1.0]) is None
    # Of printed tables.
    for freedom, point in ((1, 12.706), (15, 2.131), (16, 2.120), (20, 2.086), (30, 2.042), (120, 1.980)):
        assert t975(freedom) == pytest.approx(point, abs=1e-3)


def test_a_budget_of_steps_or_seconds(tmp_path):
    assert RandomSharing().lasting(7).training.steps == 7
    # Phases that are counted in steps keep their proportion.
    darts = Darts(SharedTrainingConfig(steps=1000), projection=Projection(tuning=100))
    assert darts.lasting(100) == Darts(SharedTrainingConfig(steps=100), projection=Projection(tuning=10))
    enas = EnasSharing(warmup=50).lasting(1950)
    assert (enas.phases, enas.warmup, EnasSharing().cycle) == (10, 2, 195)
    base = Base().lasting(300)
    assert base.adapt.budget.steps == 300 and base.cycle == Base().adapt.inner.architecture.every
    variant = Variant(name="few", strategy="random_sharing", random_sharing=RandomSharing(children=20))
    config = CompareStrategiesConfig(strategies=("few",), variants=(variant,), steps=9)
    found = config.search("few", 3, 9)
    assert found.search.strategy == "random_sharing" and found.search.seed == 3
    assert found.search.random_sharing == RandomSharing(children=20).lasting(9)
    save_config(tmp_path / "s.toml", found)
    assert load_config(tmp_path / "s.toml", SearchSettings) == found
    with RunFolder.create(tmp_path / "t", "search", found) as run:
        for step in range(1, 31):
            run.log("search", step, loss=1.0)
        text = (tmp_path / "t/metrics.jsonl").read_text().splitlines()
        # Two seconds each, a slow start, and after the 24 steps of the trial others that are none of the weights.
        rows = [line.split('"time"')[0] + f'"time": {5.0 + 2.0 * i}, "loss": 1.0}}' for i, line in enumerate(text)]
        (tmp_path / "t/metrics.jsonl").write_text("\n".join(rows) + "\n")
        run.write("cost", Cost(60.0, 68.0, 0))
    trial = RunFolder.open(tmp_path / "t")
    assert _affordable(trial, "few", 24, 120.0) == (120 - 20) // 2
    with pytest.raises(InputError, match=r"seconds: got 21, expected more than the 22\.0 that few needs at least"):
        _affordable(trial, "few", 24, 21.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "darts two"}, "expected letters"),
        ({"name": "random"}, "not one of uniform, random"),
        ({"strategy": "annealing"}, "strategy: got 'annealing'"),
    ],
)
def test_variants_that_are_refused(change, says):
    with pytest.raises(InputError, match=says):
        replace(Variant(name="a", strategy="random"), **change)
    twice = (Variant(name="a", strategy="random"),) * 2
    with pytest.raises(InputError, match="expected different names"):
        CompareStrategiesConfig(variants=twice)


def job(folder: Path, name: str, script: str) -> Job:
    return Job(name, ("sh", "-c", script), folder / name, folder / f"{name}.log")


def test_jobs_run_a_few_at_a_time_and_say_what_they_said(tmp_path):
    jobs = [job(tmp_path, str(i), f"echo begin; sleep 0.1; echo end {i}; exit {i}") for i in range(3)]
    began = time.monotonic()
    assert sorted(status for _, status in run_jobs(jobs, 3)) == [0, 1, 2]
    assert time.monotonic() - began < 5.0
    assert last_words(tmp_path / "2.log") == "end 2"
    # One at a time: in order.
    assert [one.name for one, _ in run_jobs(jobs, 1)] == ["0", "1", "2"]


def test_a_folder_that_is_in_use_is_waited_for(tmp_path):
    (tmp_path / "a").mkdir()
    lock = hold(tmp_path / "a/.lock", "a")
    release = threading.Timer(0.5, lock.close)
    release.start()
    jobs = [job(tmp_path, "a", "true"), job(tmp_path, "b", "true")]
    assert [one.name for one, _ in run_jobs(jobs, 1)] == ["b", "a"]


def test_jobs_are_told_once_to_stop_and_have_ended(tmp_path):
    trap = "trap 'echo told; exit 130' TERM; echo up; while true; do sleep 0.05; done"
    jobs = [job(tmp_path, str(i), trap) for i in range(3)]

    def soon() -> None:
        while not all(log.exists() and "up" in log.read_text() for log in (tmp_path / "0.log", tmp_path / "1.log")):
            time.sleep(0.02)
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=soon).start()
    with pytest.raises(Interrupted, match="3 searches to go"):
        list(run_jobs(jobs, 2))
    assert [(tmp_path / f"{i}.log").read_text() for i in range(2)] == ["up\ntold\n"] * 2
    assert not (tmp_path / "2.log").exists()


def test_a_search_that_fails_leaves_the_others(tmp_path):
    config = CompareStrategiesConfig(query="valid", strategies=("random", "random_sharing"), seeds=2, queries=4)
    words = ("sh", "-c", "echo loss is nan; exit 1", "search")
    with RunFolder.create(tmp_path / "r", "compare-strategies", config) as run:
        with pytest.raises(Diverged, match="2 of 4 searches failed, the others are finished; .*: loss is nan"):
            compare_strategies(config, run, Prepared(TABLE, None), words)
        compared = run.read("results", ComparedStrategies)
    assert [one.strategy for one in compared.findings] == ["random", "random"] and len(compared.failed) == 2
    assert all(one.cost.peak_bytes == 0 for one in compared.findings)
    with pytest.raises(InputError, match="--run: not given"):
        compare_strategies(config, None, Prepared(TABLE, None))
    values = [one.places["valid"].value for one in compared.findings]
    assert values == [max(p.values["valid"] for p in one.curve) for one in compared.findings]
    assert len(list(itertools.chain(*(one.curve for one in compared.findings)))) >= 4
