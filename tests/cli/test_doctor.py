from __future__ import annotations

import importlib.metadata
import re
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from base_fast.cli.doctor import OPTIONAL, doctor, write_problem
from base_fast.ops import backends

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")


def test_doctor_prints_what_it_finds(tmp_path, capsys):
    assert doctor(tmp_path / "runs") == 0
    shown = capsys.readouterr().out
    assert torch.__version__ in shown
    assert f"{tmp_path / 'runs'}: writable" in shown
    assert "base-fast[report]" in shown
    for op, kernels in backends().items():
        assert op in shown
        assert kernels["cpu"] in shown
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_the_exit_code(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert doctor(tmp_path / "file" / "runs") == 1
    assert "NOT writable" in capsys.readouterr().out

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert write_problem(tmp_path) == f"{tmp_path}: No space left on device"


def test_packages_that_are_missing_are_named(tmp_path, capsys, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert doctor(tmp_path) == 0
    shown = capsys.readouterr().out
    assert shown.count("absent") == len(OPTIONAL)
    assert "a source tree that is not installed" in shown


def test_the_extras_are_those_of_the_project():
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    declared = {
        re.split(r"[^\w-]", requirement)[0]: extra
        for extra in ("data", "report", "onnx", "gpu", "bench")
        for requirement in extras[extra]
        if not requirement.startswith("base-fast[")
    }
    assert declared == OPTIONAL
