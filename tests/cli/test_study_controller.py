"""`base-fast study-controller` and its report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.test_main import complaint, run
from tests.objectives import toys

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The example with a table that is at hand, and less of everything."""
    text = (ROOT / "examples/study_controller.toml").read_text()
    text = re.sub(r'path = "data/.*"', f'path = "{toys.write_csv(tmp_path / "t.csv.gz")}"', text)
    text = text.replace('"cifar10_valid"', '"valid"')
    for name, size in (("queries", 6), ("seeds", 1), ("batch", 2)):
        text = re.sub(rf"\b{name} = \d+", f"{name} = {size}", text)
    text += "\n[enas.policy]\nhidden = 4\n[probe]\ngenotypes = 20\npairs = 10\nstates = 2\ncompletions = 2\n"
    (tmp_path / "example.toml").write_text(text + "permutations = 3\n")
    return tmp_path / "example.toml"


def test_the_example_leaves_tables_and_a_report(example: Path, tmp_path: Path, capsys) -> None:
    words = ("study-controller", "--config", example, "--run", tmp_path / "r")
    assert run(*words) == 0
    out = capsys.readouterr().out
    for said in (
        "Controllers",
        "Linear probes of past choices",
        "Distances of states",
        "Completions from equal states",
    ):
        assert said in out
    assert all(group in out for group in ("untrained", "plain", "buffer"))
    page = (tmp_path / "r/report/index.html").read_text()
    assert 'id="study"' in page and (tmp_path / "r/report/controller-study.png").is_file()
    before = (tmp_path / "r/study.json").read_bytes()
    assert run(*words, "--resume") == 0
    assert (tmp_path / "r/study.json").read_bytes() == before


def test_what_does_not_fit_is_refused_in_a_line(example: Path, tmp_path: Path, capsys) -> None:
    words = ("study-controller", "--config", example, "--run", tmp_path / "r")
    assert "no column 'loss'" in complaint(capsys, *words, "--table.columns", "loss")
    assert "cannot read" in complaint(capsys, *words, "--saved", tmp_path / "none.safetensors")
    assert "expected a number > 0" in complaint(capsys, *words, "--memory.weight", 0)
    assert not (tmp_path / "r").exists()
