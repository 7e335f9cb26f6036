"""The script for a GPU, walked through on the CPU."""

from __future__ import annotations

import json
import sys
import time

import pytest
import torch

from benchmarks import gpu_check
from benchmarks.gpu_check import LATE, OK, WRONG, Check, Context, Row, Stage


def rows_of(stage, names=("gaussian_sample", "sgd_step")):
    rows = []
    stage(Context("cpu", True, names, 60.0, rows.append))
    return rows


def test_facts_say_what_serves_every_op():
    rows = {row.name: row for row in rows_of(gpu_check.facts)}
    assert rows["torch"].status == OK and "mixed_op" in rows


def test_values_and_times_of_a_case():
    (*found,) = rows_of(gpu_check.values)
    assert {row.status for row in found} == {OK}, found
    timed = rows_of(gpu_check.speed, ("gaussian_sample",))
    assert all(row.status == OK and "ms" in row.found for row in timed), timed


SCRIPTS = {
    "good": """import json, sys; open(sys.argv[1], "w").write(json.dumps([dict(name="a", status="ok", found="")]))""",
    "broken": "raise RuntimeError('no such kernel')",
    "endless": "import time; time.sleep(60)",
}


def named(name, seconds):
    def run(context):
        raise AssertionError("runs in a process of its own")

    run.__name__ = name
    return Stage(run, seconds)


def test_a_stage_that_fails_or_hangs_does_not_stop_the_others(monkeypatch, tmp_path):
    started = gpu_check.subprocess.Popen

    def instead(command, **options):
        if "--stage" in command:
            name = command[command.index("--stage") + 1]
            command = [sys.executable, "-c", SCRIPTS[name], str(tmp_path / f"{name}.json")]
        return started(command, **options)

    monkeypatch.setattr(gpu_check.subprocess, "Popen", instead)
    monkeypatch.setattr(gpu_check, "STAGES", (named("broken", 30), named("endless", 1), named("good", 30)))
    began = time.perf_counter()
    assert gpu_check.main(["--dry-run", "--out", str(tmp_path)]) == 1
    assert time.perf_counter() - began < 30
    found = json.loads((tmp_path / "gpu_check.json").read_text())["stages"]
    assert [found[name][0]["status"] for name in ("broken", "endless", "good")] == [WRONG, LATE, OK]
    assert "no such kernel" in found["broken"][0]["found"] and found["good"][1]["name"] == "a"
    assert "out of time" in (tmp_path / "gpu_check.md").read_text()


def test_a_stage_leaves_its_rows(tmp_path):
    check = Check(out=tmp_path, dry_run=True)

    def two(context):
        context.add(Row("one", OK))
        context.add(Row("two", WRONG, "differs"))

    gpu_check.work(check, Stage(two, 10))
    assert [row["name"] for row in json.loads((tmp_path / "two.json").read_text())] == ["one", "two"]


def test_a_case_that_fails_does_not_stop_the_others(monkeypatch):
    asked = []

    def broken(case, **_):
        asked.append(case.op)
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(gpu_check, "prepare", broken)
    found = rows_of(gpu_check.values, ("sgd_step", "mixed_op"))
    assert len(found) == len(asked) > 2 and {row.status for row in found} == {WRONG}
    assert "illegal memory access" in found[0].found


def test_the_stages_take_eight_minutes():
    assert sum(stage.seconds for stage in gpu_check.STAGES) <= 8 * 60


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is available")
def test_without_a_gpu_it_says_so(capsys):
    assert gpu_check.main([]) == 2
    assert "--dry-run" in capsys.readouterr().err
