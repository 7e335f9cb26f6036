"""A search trained by base_fast follows PyTorch's loss curve as closely as PyTorch follows itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

from benchmarks.training import AGAIN, OURS, PLAIN, Training, apart, curves, main, split_of
from tests import tolerances

SMALL = Training(channels=4, layers=3, nodes=1, resolution=8, batch_size=16, steps=130, seeds=3)


@pytest.mark.slow
def test_losses_follow_those_of_pytorch() -> None:
    split = split_of(SMALL)
    found = [curves(SMALL, split, seed) for seed in range(SMALL.seeds)]
    for own in found:
        # They learn; and until a ReLU decides otherwise for the first time, which may be soon, losses are the same.
        for losses in own.losses.values():
            assert sum(losses[-20:]) < 0.25 * sum(losses[:20])
        assert max(own.gaps(OURS)[:5]) <= tolerances.LOSS_FLOAT32
    ours, theirs = apart(found)
    assert ours <= tolerances.TIMES_PYTORCH_APART * theirs


def test_the_command_writes_curves_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--channels", "2", "--layers", "1", "--nodes", "1", "--resolution", "8", "--batch-size", "4"]
    assert main([*small, "--steps", "3", "--seeds", "2", "--out", str(tmp_path)]) == 0
    data = json.loads((tmp_path / "training.json").read_text())
    assert [len(losses) for own in data["curves"] for losses in own["losses"].values()] == [3] * 6
    assert set(data["curves"][0]["losses"]) == {OURS, PLAIN, AGAIN}
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert said.count("\n| ") == 2
    assert "root mean square over all" in said


def test_the_command_without_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--data", "cifar10"]) == 2
    assert capsys.readouterr().err.startswith("benchmarks.training: ")
