"""A run that is killed at any moment resumes to the same bits; `python -m tests.kill` tries it more often."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Tries of each kind: a comparison has all stages of the others, and takes as long as they together.
KINDS = {"meta-train": 2, "adapt": 2, "train": 2, "compare": 1, "search": 2, "collect": 2}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the clocks of other processes")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_hit_at_random_moments_resumes_to_the_same_bits(kind: str) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("torch.utils.tensorboard")
    words = [sys.executable, "-m", "tests.kill", kind, "--tries", str(KINDS[kind])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("same bits") == KINDS[kind]
