"""`~` in every path of a command, and warnings as one line."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from base_fast.cli.compare_strategies import CompareStrategies
from base_fast.cli.main import _at_home, _tidy_warnings, main
from base_fast.cli.search import Search
from base_fast.experiments.entrants import CompareStrategiesConfig
from base_fast.objectives import TableConfig
from base_fast.objectives.config import ObjectiveConfig
from base_fast.strategies import SearchSettings


def test_every_path_of_a_command_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    objective = ObjectiveConfig(tables=(TableConfig(Path("~/t.csv")), TableConfig(Path("/a/~/b.csv"))))
    command = _at_home(Search(run=Path("~/run"), settings=SearchSettings(objective=objective)))
    assert command.run == tmp_path / "run"
    assert [t.path for t in command.settings.objective.tables] == [tmp_path / "t.csv", Path("/a/~/b.csv")]
    compared = CompareStrategies(out=Path("~nobody-of-that-name/o"), settings=CompareStrategiesConfig(table=Path("~")))
    assert _at_home(compared).settings.table == tmp_path
    plain = Search(run=Path("run"))
    assert _at_home(plain) is plain


@pytest.mark.parametrize(
    "words",
    [
        ["derive", "--posterior=~/x.toml"],
        ["derive", "--posterior", "~/x.toml"],
        ["train", "--config=~/x.toml", "--genotype", "DARTS_V2"],
        ["evaluate", "--run=~/x.toml"],
        ["report", "~/x.toml"],
    ],
)
def test_messages_name_the_file_at_home(tmp_path, monkeypatch, capsys, words):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(words) == 1
    assert str(tmp_path / "x.toml") in capsys.readouterr().err


def test_warnings_are_one_line_that_names_the_command():
    plain = warnings.formatwarning
    with _tidy_warnings("base-fast adapt"):
        said = warnings.formatwarning("pets: 1 of 9\n images\x1b[2J", UserWarning, "file.py", 3)
        other = warnings.formatwarning("old", DeprecationWarning, "file.py", 3)
    assert said == "base-fast adapt: pets: 1 of 9 images\\x1b[2J\n"
    assert "file.py:3: DeprecationWarning: old" in other
    assert warnings.formatwarning is plain
