"""`base-fast compare` prints its tables."""

from __future__ import annotations

from pathlib import Path

import pytest

import base_fast.cli.compare
from base_fast.cli import main
from base_fast.experiments import CompareConfig
from base_fast.runs import RunFolder
from base_fast.runs.artefacts import Compared
from tests.reports.fake_run import placements, repetition


@pytest.mark.parametrize("placed", [True, False])
def test_placements_are_printed_where_there_are_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], placed: bool
) -> None:
    def compare(config: CompareConfig, run: RunFolder, prepared: object) -> Compared:
        if placed:
            run.write("placements", placements(1))
        return Compared("made up", 60, 0.5, 0.5, (repetition(0, 2),))

    monkeypatch.setattr(base_fast.cli.compare, "prepare", lambda config: ())
    monkeypatch.setattr(base_fast.cli.compare, "compare", compare)
    monkeypatch.setattr(base_fast.cli.compare, "write_report", lambda path: path)
    assert main(["compare", "--run", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert "made up" in text
    assert ("Cells among the 15,625 of the table: cifar100_test" in text) == placed
