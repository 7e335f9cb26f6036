"""From a trained network to its use, on the command line: evaluate, predict, export."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import base_fast as bf
from base_fast.cli import main
from base_fast.evaluation import export as exporting
from base_fast.runs import RunFolder
from base_fast.runs.artefacts import Scored, TrainedNetwork

Image = pytest.importorskip("PIL.Image")
CLASSES = ("cat", "dog", "éme u")


def pictures(folder: Path, classes: tuple[str, ...] = CLASSES, count: int = 6) -> Path:
    """Noise in which each class has a colour of its own."""
    draws = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = draws.integers(0, 60, (10, 13, 3), dtype=np.uint8)
            pixels[..., CLASSES.index(name) if name in CLASSES else 0] += 150
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


# One process makes what all of them look at.
pytestmark = pytest.mark.xdist_group("deployment")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training run, `net`, on pictures that have moved since, and others to score."""
    here = tmp_path_factory.mktemp("deployment")
    photos = pictures(here / "photos")
    words = ["--network.channels", "4", "--network.layers", "2", "--train.steps", "25", "--train.augmentation", "none"]
    data = ["--target.train.kind", "folder", "--target.train.path", str(photos), "--target.resolution", "8"]
    assert main(["train", "--genotype", "DARTS_V2", "--run", str(here / "net"), *words, *data]) == 0
    photos.rename(here / "moved")
    pictures(here / "some", CLASSES[::2])
    return here


def said(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == status
    captured = capsys.readouterr()
    return captured.err if status else captured.out


def test_validation_images_are_found_where_they_moved(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = place / "net"
    assert "--target.train.path" in said(capsys, "evaluate", net, status=1)
    # The run folder may stand anywhere on the line.
    out = said(capsys, "evaluate", "--target.train.path", place / "moved", "--latency", "--run", net)
    trained = RunFolder.open(net).read("results", TrainedNetwork)
    assert f"accuracy    {100 * trained.accuracy:.2f} %" in out and "80 % of 50 passes" in out
    assert f"{trained.parameters:,}\n" in out  # no word of an auxiliary head
    scored = RunFolder.open(net).read("evaluations/validation", Scored)
    assert (scored.images, scored.accuracy) == (3, trained.accuracy)
    assert (net / "evaluations/validation.png").read_bytes().startswith(b"\x89PNG")


def test_any_folder_is_scored_class_by_class(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "some/cat/broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.warns(UserWarning, match=r"1 of 13 images are corrupt"):
        out = said(capsys, "evaluate", place / "net", "--folder", place / "some")
    (place / "some/cat/broken.jpg").unlink()
    scored = RunFolder.open(place / "net").read("evaluations/some", Scored)
    network = bf.load_network(place / "net")
    found = [
        [int(network.classify(network.read(file)[None]).argmax()) for file in sorted((place / "some" / name).iterdir())]
        if name != "dog"
        else []
        for name in CLASSES
    ]
    assert scored.confusion == tuple(tuple(row.count(j) for j in range(3)) for row in found)
    assert [one.images for one in scored.classes] == [6, 0, 6] and scored.classes[1].accuracy is None
    assert scored.accuracy == sum(row.count(i) for i, row in enumerate(found)) / 12
    assert "some: 12 images" in out and "éme u" in out
    pictures(place / "other", ("cat", "horse"), 1)
    assert "images of 'horse'" in said(capsys, "evaluate", place / "net", "--folder", place / "other", status=1)


def test_runs_that_cannot_be_evaluated(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a run folder" in said(capsys, "evaluate", tmp_path, status=1)
    assert "--run: not given" in said(capsys, "evaluate", status=1)
    RunFolder.create(tmp_path / "m", "meta-train", Scored("", 0, 0.0, 0.0, 0.0, (), ())).close()
    assert "of kind 'meta-train', expected 'train'" in said(capsys, "evaluate", tmp_path / "m", status=1)


def test_predictions_are_those_of_the_network(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = bf.load_network(place / "net")
    files = [place / "some/cat/1.png", *sorted((place / "some/éme u").iterdir())]
    given = ["predict", place / "net", files[0], place / "some/éme u", "--batch-size", 2]
    rows = list(csv.DictReader(io.StringIO(said(capsys, *given, "--k", 2))))
    assert [row["image"] for row in rows[::2]] == [str(file) for file in files]
    objects = json.loads(said(capsys, *given, "--format", "json"))
    for file, row, found in zip(files, rows[::2], objects, strict=True):
        probabilities = network.classify(network.read(file)[None])[0]
        assert (row["rank"], row["class"]) == ("1", CLASSES[int(probabilities.argmax())])
        assert float(row["probability"]) == pytest.approx(float(probabilities.max()), rel=1e-5)
        assert [one["class"] for one in found["classes"]] == [
            CLASSES[i] for i in probabilities.argsort(descending=True)
        ]
        assert sum(one["probability"] for one in found["classes"]) == pytest.approx(1, abs=1e-5)


def test_images_that_cannot_be_read_are_named(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.jpg").write_text("no image")
    out = tmp_path / "p.csv"
    words = ["predict", "--run", place / "net/network.safetensors", tmp_path / "bad.jpg", place / "some/cat/0.png"]
    assert said(capsys, *words, "--out", out, status=1).count("bad.jpg: cannot be decoded") == 1
    assert len(out.read_text().splitlines()) == 4
    assert "no file" in said(capsys, "predict", place / "net", tmp_path / "none.png", status=1)
    assert "images: none" in said(capsys, "predict", place / "net", status=1)
    assert "--k: got 0" in said(capsys, *words, "--k", 0, status=1)


def test_export_says_what_the_file_takes(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("base_fast.cli.export.export", lambda network, form: exporting.Exported(form.encode(), None))
    out = said(capsys, "export", place / "net")
    assert "network.onnx" in out and "not compared: onnxruntime" in out and "(B, 3, 8, 8)" in out
    assert (place / "net/network.onnx").read_bytes() == b"onnx"
    said(capsys, "export", place / "net/network.safetensors", "--format", "torch-export", "--out", tmp_path / "n")
    assert (tmp_path / "n").read_bytes() == b"torch-export"
