"""The whole report: complete, self-contained, well-formed, escaped; and what it says of folders it cannot report."""

from __future__ import annotations

import base64
import html
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from base_fast.errors import InputError
from base_fast.posterior import Derivation
from base_fast.random import key
from base_fast.reports import write_report
from base_fast.reports.contents import read_contents
from base_fast.runs import RunFolder
from base_fast.runs.artefacts import ClassScore, Scored
from base_fast.space import DARTS, NAS_BENCH_201, Candidate, Space, genotypes
from base_fast.supernet import Supernet
from tests.reports.fake_run import RUN, played_off, searched, trained, write_fake_run

pytest.importorskip("matplotlib")


# One process makes what all of them look at.
pytestmark = pytest.mark.xdist_group("report")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "compare"
    return write_report(write_fake_run(path, seeds=2, randoms=2, steps=60, nodes=2))


def bare_run(
    path: Path, kind: str = "adapt", rows: list[dict[str, object]] | None = None, space: Space = DARTS, **files: object
) -> Path:
    run = RunFolder(path, replace(RUN, kind=kind))
    for name, value in {"run": run.info, "space": space, **files}.items():
        run.write(name, value)
    if rows is not None:
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_all_figures_exist_as_png(report: Path) -> None:
    names = {file.stem for file in report.parent.glob("*.png")}
    expected = """cells-prior-seed0 cells-scratch-seed1 inner-losses meta-entropy meta-shares meta-movement
        probabilities-meta-seed0 edges-meta-seed0-normal edges-meta-seed0-reduce probabilities-adapt-prior-seed1
        edges-adapt-scratch-seed0-reduce placements
        play-off meta-draws adaptation-draws adaptation-accuracy adaptation-loss adaptation-entropy final-accuracies
        training-curves"""
    assert set(expected.split()) <= names
    assert "edges-meta-seed1-normal" not in names  # of one seed per group only
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in report.parent.glob("*.png"))


def test_page_is_well_formed_and_its_links_and_ids_hold(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text.replace("<!DOCTYPE html>", ""))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    links = [link for element in root.iter() if (link := element.get("href"))]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    files = [link for link in links if not link.startswith("#")]
    assert {"../metrics.jsonl", "../results.json", "../genotypes/prior-seed0.json"} <= set(files)
    assert all((report.parent / file).is_file() for file in files)
    pictures = list(root.iter("img"))
    assert len(pictures) == len(list(report.parent.glob("*.png")))
    for picture in pictures:
        assert picture.get("alt")
        kind, _, data = picture.get("src", "").partition(";base64,")
        assert kind == "data:image/svg+xml"
        assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("}svg")
    headings = [heading.text for heading in root.iter("h2")]
    assert headings[:4] == ["Results", "Adaptation", "Cells", "Genotypes under the posterior"]
    captions = [caption.text for caption in root.iter("caption")]
    assert captions[2] == "Cells among the 15,625 of the table: cifar10_test"
    assert {"Play-off", "Cells of the play-off: scratch-seed1"} <= set(captions)


def test_page_needs_nothing_from_outside(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"<(script|link|iframe)\b", text)
    assert "@import" not in text


def test_pictures_follow_the_theme(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert re.search(r"prefers-color-scheme: dark\) { figure img { filter: invert", text)
    assert "@media print" in text


def test_everything_is_escaped(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    for raw, escaped in (("<i>&", "&lt;i&gt;&amp;"), ("<b>&", "&lt;b&gt;&amp;"), ("<script>", "&lt;script&gt;")):
        assert raw not in text
        assert escaped in text


def test_missing_pieces_are_left_out(tmp_path: Path) -> None:
    entropy = {"normal": 1.0, "reduce": 1.1}
    rows = [{"phase": "adapt/x", "step": step, "loss": 2.0 - 0.1 * step, "entropy": entropy} for step in range(5)]
    text = write_report(bare_run(tmp_path / "run", rows=rows)).read_text()
    assert re.findall(r"<h2[^>]*>([^<]*)", text) == ["Adaptation", "Configuration and files"]
    assert {file.stem for file in (tmp_path / "run/report").glob("*.png")} == {"adaptation-loss", "adaptation-entropy"}


def test_a_trained_network_is_shown_class_by_class(tmp_path: Path) -> None:
    rows = [{"phase": "train/network", "step": step, "loss": 1.0, "accuracy": 0.5} for step in range(3)]
    path = bare_run(tmp_path / "run\udce9", kind="train", rows=rows)
    (path / "config.toml").write_bytes(b"# \xff\n")
    classes = (ClassScore("a<b", 4, 0.75), ClassScore("c", 0, None), ClassScore("d", 2, 0.5))
    scored = Scored("photos", 6, 4 / 6, 1.0, 0.7, classes, ((3, 0, 1), (0, 0, 0), (1, 0, 1)))
    RunFolder.open(path).write("evaluations/photos", scored)
    text = write_report(path).read_text(encoding="utf-8")
    assert "Classes of photos" in text and "75.0 %" in text and "a&lt;b" in text and ">d (1)<" in text
    pictures = {file.stem for file in (path / "report").glob("*.png")}
    assert pictures == {"confusion-photos", "training-curves"}  # one network: no strip of accuracies
    assert re.findall(r"<h2[^>]*>([^<]*)", text) == ["Training", "Class by class", "Configuration and files"]
    assert "../evaluations/photos.json" in text


def test_odd_rows_are_passed_over(tmp_path: Path) -> None:
    rows = [
        {"phase": "adapt/x", "step": step, "loss": "much", "evidence": 5, "effective_cells": 2.0, "entropy": 3}
        for step in range(3)
    ]
    assert write_report(bare_run(tmp_path / "run", rows=rows)).is_file()


@pytest.mark.parametrize(("kind", "caption"), [("adapt", "Adapted supernet"), ("train", "Trained network")])
def test_results_alone_make_a_report(tmp_path: Path, kind: str, caption: str) -> None:
    results = {"adapt": searched(0.75), "train": trained(0.75)}[kind]
    text = write_report(bare_run(tmp_path / "run", kind, results=results)).read_text()
    assert f"<caption>{caption}</caption>" in text
    assert '<td class="number">75.00 %</td>' in text


def test_a_single_genotype_takes_the_name_of_the_run(tmp_path: Path) -> None:
    derivation = Derivation(genotypes.DARTS_V2, [Candidate(genotypes.DARTS_V1, 0.5, 0.1)], [])
    path = bare_run(tmp_path / "one", "adapt", genotype=genotypes.DARTS_V2, derivation=derivation)
    text = write_report(path).read_text()
    assert "Most probable genotypes: one" in text
    # What stands on the page can be given to `base-fast train --genotype`.
    assert html.escape(genotypes.DARTS_V1.compact()) in text
    assert html.escape(genotypes.DARTS_V2.compact()) in text
    assert "Undecided" not in text
    assert (path / "report/cells-one.png").exists()


def test_a_play_off_belongs_to_an_adaptation(tmp_path: Path) -> None:
    path = bare_run(tmp_path / "one", "adapt", genotype=genotypes.DARTS_V2)
    RunFolder(path, RUN).write("play-off", played_off(0))
    text = write_report(path).read_text()
    assert "Cells of the play-off: one" in text
    assert html.escape(played_off(0).winner.compact()) in text
    assert (path / "report/play-off.png").exists()


def test_of_cell_types_that_no_layer_has_nothing_is_drawn(tmp_path: Path) -> None:
    row = {"phase": "adapt", "step": 1, "entropy": {"normal": 2.0, "reduce": 1.0}}
    row["probabilities"] = np.full((2, DARTS.num_edges, DARTS.num_primitives), 1 / DARTS.num_primitives).tolist()
    path = bare_run(tmp_path / "run", "adapt", [row, row | {"step": 2}], genotype=genotypes.DARTS_V2)
    assert read_contents(path).cell_types == ("normal", "reduce")
    Supernet(DARTS, 2, 1, 2, reductions=(0,)).prior(key(0)).save(path / "posterior.safetensors")
    assert read_contents(path).cell_types == ("reduce",)
    write_report(path)
    names = {file.stem for file in (path / "report").glob("edges-*.png")}
    assert names == {"edges-adapt-reduce"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("play-off", '{"rounds": 1}', r"play-off\.json: rounds: got 1"),
        ("genotype", "[1]", r"genotype\.json: holds a list; expected an object with the fields of Genotype"),
        ("genotype", "{", r"genotype\.json is damaged"),
        ("genotype", '{"normal": []}', r"genotype\.json: normal_concat: missing"),
        ("results", '{"accuracy": "0.5"}', r"results\.json: accuracy: got '0.5' \(str\); expected a number"),
        ("derivation", '{"candidates": 1}', r"derivation\.json: candidates: got 1"),
        ("space", "{}", r"space\.json: name: missing"),
    ],
)
def test_a_damaged_file_is_named_with_its_field(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = bare_run(tmp_path / "run", rows=[{"phase": "adapt", "step": 1, "loss": 1.0}])
    (path / f"{name}.json").write_text(text)
    with pytest.raises(InputError, match=message):
        write_report(path)


def test_probabilities_without_a_space_have_no_names(tmp_path: Path) -> None:
    row: dict[str, object] = {"phase": "meta", "step": 1, "probabilities": [[[0.2] * 5] * 6]}
    path = bare_run(tmp_path / "run", "meta-train", [row])
    with pytest.raises(InputError, match=r"of shape \(1, 6, 5\) do not fit the space darts"):
        write_report(path)
    (path / "space.json").unlink()
    with pytest.raises(InputError, match="has no space.json"):
        write_report(path)


def test_one_row_and_values_that_are_not_finite(tmp_path: Path) -> None:
    row = {"phase": "meta", "step": 1, "loss_first": float("nan"), "loss_last": 1.0, "ln_classes": 1.6, "none": 0.1}
    row |= {"probabilities": [[[0.2] * 5] * 6], "sigma_drift": 0.0}
    train = [{"phase": "train/a", "step": 1, "loss": float("inf")}, {"phase": "train/a", "step": 2, "accuracy": 0.5}]
    path = bare_run(tmp_path / "run", "meta-train", [row, *train], NAS_BENCH_201)
    write_report(path)
    assert (path / "report/probabilities-meta.png").exists()
    assert not (path / "report/edges-meta-normal.png").exists()  # one record makes no curve


@pytest.mark.parametrize("ragged", [[[0.5, 0.5]], [[[0.1, 0.9], [0.5]]], "text"])
def test_probabilities_of_a_wrong_shape_are_an_input_error(tmp_path: Path, ragged: object) -> None:
    path = bare_run(tmp_path / "run", rows=[{"phase": "meta", "step": 1, "probabilities": ragged}])
    with pytest.raises(InputError, match="probabilities must be"):
        write_report(path)


def test_what_is_not_a_run_or_empty_is_an_input_error(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "absent", "is not a folder"),
        (tmp_path, "run"),
        (bare_run(tmp_path / "empty"), "nothing to report"),
        (bare_run(tmp_path / "odd", "party"), "of the kind 'party', of which there is no report"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            write_report(path)
        assert "\n" not in str(caught.value)


def test_without_matplotlib_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    path = bare_run(tmp_path / "run", rows=[{"phase": "adapt/x", "step": 1, "loss": 1.0}])
    with pytest.raises(InputError, match=r"pip install 'base-fast\[report\]'"):
        write_report(path)


def test_facts_of_the_run_stand_in_the_header(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    for words in (RUN.started.commit, "16 GiB memory", "8 cores", "torch 2.14.1"):
        assert str(words) in text
    assert "base_fast None" not in text
