"""`base-fast forecast`, on made-up probes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from base_fast.cli.forecast import parse_bytes
from base_fast.cli.main import main
from base_fast.errors import InputError
from base_fast.forecast import model
from base_fast.forecast.probe import Found, Question
from tests.forecast.toys import found

CONFIG = """
[meta]
tasks = 6
inner_steps = 100
iterations = 10
warmup = 2
[meta.inner]
batch_size = 64
[tasks]
resolutions = [8]
[[tasks.sources]]
kind = "digits"
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    questions: list[Question] = []

    def ask(question: Question, command: Sequence[str]) -> Found:
        assert command[1:3] == ("-m", "base_fast.cli.probe")
        questions.append(question)
        return found(question.batch)

    monkeypatch.setattr(model, "ask", ask)
    return questions


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    assert main(["forecast", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line[:18].strip(): line[19:] for line in lines} | {"map": next((x for x in lines if "0: " in x), "")}


def test_what_is_printed(tmp_path: Path, asked: list[Question], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "meta.toml").write_text(CONFIG)
    lines = said(capsys, str(tmp_path / "meta.toml"), "--memory", "16GiB", "--dry-run-world", "4")
    assert [(q.batch, q.timed) for q in asked] == [(16, True), (32, False)]
    assert lines["inner step"] == "1.48 s (0.74 CPU s)"
    assert lines["draw of cells"].endswith("of 24, 1 a task")
    assert lines["peak memory"] == "324 MiB, of which 100 before the first step"
    assert lines["largest batch"] == "5,417 images in 16,384 MiB"
    assert lines["map"].split() == ["0:", "0,4", "1:", "1,5", "2:", "2", "3:", "3"]
    assert lines["bytes sent"] == "9.00 MiB a rank and meta-iteration"
    assert lines["bottleneck"].startswith("ranks that wait for a task")


def test_options_override_the_file(tmp_path: Path, asked: list[Question], capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "meta.toml"
    path.write_text(CONFIG)
    said(capsys, "--meta.inner.batch-size", "128", "--config", str(path))
    assert [q.batch for q in asked] == [32, 64]
    assert asked[0].meta.tasks == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--config: not given, expected a .toml file of a meta-training"),
        (["@", "--memory", "much"], "memory: got 'much', expected bytes such as 16GiB or 512MiB"),
        (["@", "--dry-run-world", "0"], "dry_run_world: got 0, expected an integer ≥ 1"),
    ],
)
def test_bad_words(
    words: list[str], message: str, tmp_path: Path, asked: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "meta.toml").write_text(CONFIG)
    assert main(["forecast", *(str(tmp_path / "meta.toml") if word == "@" else word for word in words)]) == 1
    assert message in capsys.readouterr().err
    assert not asked, "before the probes"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("16GiB", 2**34), ("1.5 g", 3 * 2**29), ("512MB", 2**29), ("1000", 1000), ("2TiB", 2**41), ("3KiB", 3072)],
)
def test_bytes(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GiB", "-1G", "0", "1e9", "12 gibberish"])
def test_bad_bytes(text: str) -> None:
    with pytest.raises(InputError, match="memory: got"):
        parse_bytes(text)


def test_a_probe_knows_primitives_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch, base_fast as bf\n"
        "bf.space.register('mine_3x3', lambda c, stride, affine: torch.nn.Conv2d(c, c, 3, stride, 1))"
    )
    (tmp_path / "meta.toml").write_text(
        """
        [meta]
        inner_steps = 2
        [meta.supernet]
        channels = 2
        layers = 1
        reductions = []
        num_classes = 5
        [meta.supernet.space]
        name = "own"
        primitives = ["none", "skip_connect", "mine_3x3"]
        inputs = 1
        nodes = 1
        cell_types = ["normal"]
        concat = [1]
        arity = "none"
        [meta.inner]
        z = "soft"
        batch_size = 4
        [tasks]
        ways = 5
        resolutions = [8]
        [[tasks.sources]]
        kind = "digits"
        """
    )
    found = said(capsys, str(tmp_path / "meta.toml"), "--register", str(tmp_path / "mine.py"))
    assert found["probes"] == "batches of 2 and 4 at 8 pixels"
