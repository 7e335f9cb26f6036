"""Many processes against one, under torchrun's launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from base_fast.cli import main
from tests import kill
from tests.engine import faults

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]


def launch(processes: int, *words: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TORCHRUN, str(processes), *options, "-m", "--", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "BASE_FAST_TIMEOUT": "300"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_bits(tmp_path: Path) -> None:
    done = launch(4, "tests.engine.ranks", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout
    assert (tmp_path / "reptile-2" / "ranks" / "1.log").exists()


@pytest.mark.slow
def test_an_elastic_restart_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "meta.toml").write_text(faults.settings(iterations=12))
    words = ["meta-train", "--config", str(tmp_path / "meta.toml"), "--run"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    done = launch(2, "tests.engine.restart", *words, str(tmp_path / "hit"), options=["--max-restarts", "1"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads((tmp_path / "hit" / "run.json").read_text())["resumed"]) == 1
    assert kill.difference(tmp_path / "whole", tmp_path / "hit") is None


@pytest.mark.slow
def test_faults_of_one_rank_end_all_with_one_message_and_lose_nothing() -> None:
    pytest.importorskip("sklearn")
    words = [sys.executable, "-m", "tests.engine.faults", "killed", "SIGTERM", "Diverged"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("goes on to the same bits") == 3
