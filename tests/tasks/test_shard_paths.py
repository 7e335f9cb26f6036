"""From patterns to files."""

from __future__ import annotations

from pathlib import Path

import pytest

from base_fast.errors import InputError
from base_fast.tasks.shard_paths import shard_paths


def touched(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


@pytest.mark.parametrize("folder", ["plain", "a{1,2}b", "[x]", "back\\slash", "{0..3}", "un{balanced", "star*", "~"])
@pytest.mark.parametrize("pattern", ["t-{0..1}.tar", "t-?.tar", "t-*.tar", "t-{0,1}.tar", "t-[01].tar"])
def test_the_folders_that_are_there_are_taken_by_name(tmp_path, folder, pattern):
    files = [tmp_path / folder / f"t-{i}.tar" for i in range(2)]
    touched(*files, tmp_path / "a1b" / "t-0.tar", tmp_path / "x" / "t-0.tar")
    assert shard_paths(str(tmp_path / folder / pattern)) == files
    assert shard_paths(files) == files


@pytest.mark.parametrize("name", ["t{0..1}.tar", "t[0].tar", "back\\slash.tar", "un{balanced.tar", "t*.tar"])
def test_a_file_that_is_there_is_taken_by_name(tmp_path, name):
    touched(tmp_path / name, tmp_path / "t0.tar")
    assert shard_paths(tmp_path / name) == [tmp_path / name]


def test_backslashes_are_letters_of_names(tmp_path):
    touched(tmp_path / "a\\b-0.tar", tmp_path / "a\\b-1.tar")
    assert [p.name for p in shard_paths(f"{tmp_path}/a\\b-{{0..1}}.tar")] == ["a\\b-0.tar", "a\\b-1.tar"]


def test_home_folders_and_braces_over_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    files = [tmp_path / "one/a/0.tar", tmp_path / "one/b/0.tar", tmp_path / "one/b/1.tar"]
    touched(*files)
    assert shard_paths("~/one/{a,b}/*.tar") == files
    assert shard_paths(["~/one/{a/0,b/1}.tar", "~/one/**/0.tar"]) == [files[0], files[2], files[1]]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("t-{000000000..999999999}.tar", "names over 100,000 shards"),
        ("t-{0..9999}{0..9999}.tar", "names over 100,000 shards"),
        ("{x{0..999999999},y}.tar", "names over 100,000 shards"),
        ("t-{999999999..0}.tar", "names over 100,000 shards"),
        ("t-{0..%s}.tar" % ("9" * 5000), "names over 100,000 shards"),
        ("t-{0..1.tar", "cannot be expanded"),
        ("t-{0..2}.tar", r"no shard matches '.*t-1.tar'"),
        ("t-{0..1000000000..1000000000}.tar", r"no shard matches '.*t-1000000000.tar'"),
    ],
)
def test_patterns_that_mean_nothing_or_too_much(tmp_path, pattern, message):
    touched(tmp_path / "t-0.tar")
    with pytest.raises(InputError, match=message):
        shard_paths(str(tmp_path / pattern))
