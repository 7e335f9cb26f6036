"""`python -m benchmarks`, and the same cases under pytest-benchmark."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as command
from benchmarks import machine, measure
from benchmarks.case import Case, Contender
from benchmarks.harness import pytest_benchmark
from benchmarks.targets import OURS
from tests.benchmarks.toy import absent, case, times


@pytest.fixture
def toys(monkeypatch):
    """The command with toy cases; returns the list to fill."""
    cases: list[Case] = []
    monkeypatch.setattr(command, "cases_of", lambda _names: cases)
    monkeypatch.setattr(machine, "COPY_BYTES", 4096)
    monkeypatch.setattr(measure, "copy_bandwidth", lambda *_: 1e9)
    monkeypatch.setattr(machine, "copy_bandwidth", lambda: 1e9)
    monkeypatch.setattr(machine, "multiply_add_rate", lambda: 1e9)
    return cases


def test_a_run_writes_table_numbers_and_picture(toys, tmp_path, capsys):
    toys += [case(), case(Contender(absent))]
    assert command.main(["--quick", "--threads", "1", "--out", str(tmp_path)]) == 0
    assert "toy: double" in capsys.readouterr().out
    data = json.loads((tmp_path / "benchmarks.json").read_text())
    assert data["threads"] == 1 and data["versions"]["torch"] and data["machine"]["cores"]
    assert [r["verdicts"][OURS]["status"] for r in data["results"]] == ["agrees", "absent"]
    assert "Quick sizes" in (tmp_path / "benchmarks.md").read_text()
    assert (tmp_path / "benchmarks.png").read_bytes().startswith(b"\x89PNG")


def test_one_case_can_be_chosen(toys, tmp_path, capsys):
    toys += [case(), replace(case(), name="triple")]
    arguments = ["--quick", "--out", str(tmp_path), "--only"]
    assert command.main([*arguments, "toy: triple"]) == 0
    assert [r["name"] for r in json.loads((tmp_path / "benchmarks.json").read_text())["results"]] == ["triple"]
    assert command.main([*arguments, "quadruple"]) == 2
    assert "only: got 'quadruple'" in capsys.readouterr().err


def test_values_that_differ_exit_with_1(toys, tmp_path, capsys):
    toys.append(case(times(2.1)))
    assert command.main(["--quick", "--out", str(tmp_path)]) == 1
    assert "values differ" in capsys.readouterr().out
    assert not (tmp_path / "benchmarks.png").exists()


def test_an_unknown_name_is_refused(capsys):
    assert command.main(["warp_drive"]) == 2
    assert "warp_drive" in capsys.readouterr().err


def test_every_name_has_a_file_with_cases():
    for name in command.NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        assert all(isinstance(case, Case) for case in module.CASES)
        assert callable(getattr(module, f"test_{name}"))
    assert len(command.cases_of(("sgd_step", "gaussian_sample"))) == 3


def test_one_op_is_measured_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "COPY_BYTES", 4096)
    (only,) = command.cases_of(("sgd_step",))
    result = measure.measure(only, command.QUICK, quick=True)
    assert result.ours.takes_part, result.ours.reason
    assert result.verdicts["SGD(foreach)"].takes_part


def test_cases_run_under_pytest_benchmark():
    timed = []
    benchmark = SimpleNamespace(group="", extra_info={}, pedantic=lambda run, **_: timed.append(run()))
    toy = case(plain=times(2.0), wrong=times(3.0), later=Contender(absent))
    test = pytest_benchmark([toy])
    (mark,) = test.pytestmark
    assert mark.kwargs["ids"] == ["double-base_fast", "double-plain", "double-wrong", "double-later"]
    test(benchmark, toy, OURS)
    assert set(timed[0]) == {"y", "grad x"} and benchmark.group == str(toy)
    with pytest.raises(AssertionError, match="values differ"):
        test(benchmark, toy, "wrong")
    with pytest.raises(pytest.skip.Exception, match="not made yet"):
        test(benchmark, toy, "later")
