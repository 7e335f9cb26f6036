"""What commands print reaches any console, file or pipe, and what they save does not depend on it."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from base_fast import random
from base_fast.cli import main
from base_fast.cli.output import PLAIN, readable
from base_fast.runs import RunFolder, atomic_write
from base_fast.supernet import Supernet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def derive(tmp_path: Path) -> list[str]:
    Supernet("darts", 2, 1, 5).prior(random.key(0)).save(tmp_path / "p.safetensors")
    return ["derive", "--posterior", str(tmp_path / "p.safetensors"), "--samples", "8"]


def stream(encoding: str) -> io.TextIOWrapper:
    """As Python opens standard output under that encoding."""
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_any_encoding_will_do(derive: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console = stream(encoding)
    monkeypatch.setattr(sys, "stdout", console)
    assert main(derive) == 0
    assert sys.stdout is console and console.errors == "strict"
    said = console.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert ("0→2" in said) == (encoding == "utf-8")
    assert ("0->2" in said) == (encoding != "utf-8")


def test_characters_that_no_encoding_has_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    console = stream("utf-8")
    monkeypatch.setattr(sys, "stdout", console)
    with readable():
        print("caf\udce9 é")  # a file name in another encoding, as Python reads it
    assert console.buffer.getvalue().decode() == "caf? é\n"  # type: ignore[attr-defined]


def test_help_says_all_its_symbols_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    console = stream("ascii")
    monkeypatch.setattr(sys, "stdout", console)
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--help"])
    assert stop.value.code == 0
    assert all(len(c) == 1 and not c.isascii() and plain.isascii() for c, plain in PLAIN.items())


def python(*words: str, **more: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "LANG", "PYTHONIOENCODING", "PYTHONUTF8")}
    environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "base_fast", *words], cwd=ROOT, env=environment, text=True, check=False, **more
    )


def test_the_package_runs_as_a_program_whose_reader_may_leave(derive: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = python(*derive, "--out", str(tmp_path / "g.json"), stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr.count("BrokenPipe"), done.stderr.count("base-fast")) == (0, 0, 0)
    assert (tmp_path / "g.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_standard_output_is_named(derive: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = python(*derive, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "No space left on device: 'standard output'; free space" in last


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device: .*results.json'") as found:
            atomic_write(tmp_path / "results.json", b"{}")
    assert found.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())
    run = RunFolder(tmp_path, None)  # type: ignore[arg-type]
    monkeypatch.setattr("base_fast.runs.folder._open_for_append", full)
    with pytest.raises(OSError, match=r"metrics.jsonl"):
        run.log("meta", 0, loss=1.0)


def test_an_error_is_one_line_whatever_it_quotes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["derive", "--posterior", str(tmp_path / "a\nb\x1b[31m.safetensors")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and r"a\nb\x1b[31m" in said
