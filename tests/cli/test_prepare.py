"""`base-fast prepare`: stores from class folders, checked, gone on with, and refused in a line."""

from __future__ import annotations

import pytest

from base_fast.cli import main
from base_fast.tasks import SourceConfig, open_source


@pytest.fixture
def words(tmp_path) -> list[str]:
    images = pytest.importorskip("PIL.Image")
    for name in ("cat", "dog"):
        (tmp_path / "pets" / "val" / name).mkdir(parents=True)
        for i in range(3):
            images.new("RGB", (12, 10), (40 * i, 0, 0)).save(tmp_path / "pets" / "val" / name / f"{i}.png")
    source = ["--source.kind", "folder", "--source.path", str(tmp_path / "pets"), "--source.split", "val"]
    return ["prepare", "--out", str(tmp_path / "store"), *source, "--resolutions", "8", "12"]


def test_prepare_and_check(words, tmp_path, capsys):
    assert main(words) == 0
    assert "8px: 6 images of 2 classes" in capsys.readouterr().out
    assert open_source(SourceConfig("store", str(tmp_path / "store"), split="val"), (8, 12)).class_names == (
        "cat",
        "dog",
    )
    assert main(words) == 0
    assert "all of it was there already" in capsys.readouterr().out
    assert main([*words, "--check"]) == 0
    assert "12px: 6 images, as they were prepared" in capsys.readouterr().out
    images = tmp_path / "store" / "val" / "8px" / "images.npy"
    images.write_bytes(images.read_bytes()[:-1] + b"\x07")
    assert main([*words, "--check"]) == 1
    assert "images.npy: rows 0 to 5 have changed" in capsys.readouterr().err


def test_refusals(words, tmp_path, capsys):
    assert main([*words, "--check"]) == 1
    assert "holds no store to check" in capsys.readouterr().err
    assert main([*words, "--source.classes", "0-1"]) == 1
    assert "all are prepared; choose when the store is used" in capsys.readouterr().err
    (tmp_path / "store" / "val" / ".8px.unfinished").mkdir(parents=True)
    assert main(words) == 1
    assert "did not end; go on with --resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
