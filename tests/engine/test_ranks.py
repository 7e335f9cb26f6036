"""Many processes against one, under torchrun's launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]


def launch(processes: int, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TORCHRUN, str(processes), "-m", "--", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "BASE_FAST_TIMEOUT": "300", **environment},
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
