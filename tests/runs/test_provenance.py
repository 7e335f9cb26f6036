from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from base_fast.runs import provenance, to_dict
from base_fast.runs.provenance import commit, cpu_flags, cpu_model, memory_bytes, package_version


def test_provenance_is_json_and_names_the_machine():
    facts = json.loads(json.dumps(to_dict(provenance.provenance())))
    assert facts["machine"]["cpu"] == cpu_model() != ""
    assert facts["versions"]["base_fast"] == package_version()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["created"])


def test_a_tree_that_is_not_installed_has_no_version(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert package_version() is None


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_the_commit_is_that_of_the_tracked_source(tmp_path, monkeypatch):
    source = tmp_path / "provenance.py"
    source.write_text("a")
    monkeypatch.setattr(provenance, "__file__", str(source))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit() is None
    git(tmp_path, "init")
    (tmp_path / "other").write_text("")
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "-m", "x", "--no-verify")
    assert commit() is None  # a repository, but not of this file
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "y", "--no-verify")
    clean = commit()
    assert re.fullmatch("[0-9a-f]{40}", clean)
    source.write_text("b")
    assert commit() == f"{clean}-dirty"


def test_a_machine_that_says_nothing_is_no_error(monkeypatch):
    def fail(*_, **__):
        raise OSError

    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr(os, "sysconf", fail)
    monkeypatch.setattr(subprocess, "run", fail)
    assert cpu_flags() == frozenset()
    assert memory_bytes() is None
    assert commit() is None
    assert cpu_model()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the flags are read from /proc/cpuinfo")
def test_flags_are_words():
    assert all(flag and " " not in flag for flag in cpu_flags())
    assert memory_bytes() > 2**20
