"""The launchers of examples/ run the very example on a few fake classes, by torchrun and submitit themselves."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from base_fast.cli.meta_train import MetaTrainSettings
from base_fast.posterior import Posterior
from base_fast.random import key
from base_fast.runs import RunFolder, load_config
from base_fast.tasks import open_tasks
from base_fast.tasks.image_folder import FolderListing
from base_fast.tasks.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "imagenet.toml"
SMALL = {
    "meta": "iterations 1 tasks 2 inner-steps 1 warmup 1 precision float32 inner.batch-size 4",
    "meta.supernet": "channels 2 layers 1 nodes 1 num-classes 2",
    "meta.inner.architecture": "cells 2",
    "meta.inner.evidence": "images 4 batch-size 4 network.channels 2 network.layers 1",
    "tasks": "ways 2 examples-per-class 5 sources.0.classes 0-3",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Four classes of seven photographs that are noise, decoded at the example's resolutions."""
    images = pytest.importorskip("PIL.Image")
    np = pytest.importorskip("numpy")
    folder = tmp_path_factory.mktemp("imagenet")
    draws = np.random.default_rng(0)
    for name in ("n01440764", "n01443537", "n01484850", "n01491361"):
        (folder / "train" / name).mkdir(parents=True)
        for i in range(7):
            pixels = draws.integers(0, 256, (16, 20, 3), dtype=np.uint8)
            images.fromarray(pixels).resize((300, 250)).save(folder / "train" / name / f"{name}_{i}.JPEG")
    prepare(FolderListing(folder / "train", "imagenet"), (64, 224), folder / "store" / "train", workers=0)
    return folder / "store"


@pytest.fixture
def words(store) -> list[str]:
    small = [(f"--{section}.", text.split()) for section, text in SMALL.items()]
    pairs = [(start + name, value) for start, text in small for name, value in zip(text[::2], text[1::2], strict=True)]
    return [*(word for pair in pairs for word in pair), "--tasks.sources.0.path", str(store)]


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
    }


def check(run: Path) -> None:
    folder = RunFolder.open(run)
    assert len(folder.rows("meta")) == 1
    assert Posterior.load(run / "posterior.safetensors").lineage[-1]["iterations"] == 1


def test_the_example_fits_its_store(store, tmp_path) -> None:
    settings = load_config(EXAMPLE, MetaTrainSettings)
    text = (
        EXAMPLE.read_text()
        .replace("stores/imagenet", str(store))
        .replace("0-899", "0-3")
        .replace("ways = 10", "ways = 2")
    )
    (tmp_path / "few.toml").write_text(text.replace("examples_per_class = 500", "examples_per_class = 7"))
    tasks = open_tasks(load_config(tmp_path / "few.toml", MetaTrainSettings).tasks)
    found = {tasks.sample(key(i)).resolution for i in range(8)}
    assert found == set(settings.tasks.resolutions) == {64, 224}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="slurm's clusters run Linux")
def test_the_sbatch_script(words, tmp_path) -> None:
    """As slurm would run it on one node, where `srun` starts one task; two processes by the real torchrun."""
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    programs = {
        "srun": 'exec "$@"',
        "scontrol": 'test "$1 $2 $3" = "show hostnames here,there" && echo localhost && echo there',
        "torchrun": f'exec {" ".join(torchrun)} "$@"',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    script = ROOT / "examples" / "imagenet.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here,there", "SLURM_JOB_NUM_NODES": "1"}
    chosen = {"CONFIG": str(EXAMPLE), "RUN": str(tmp_path / "run"), "PROCESSES": "2", "PORT": "0", "RESTARTS": "0"}
    done = subprocess.run(
        ["bash", script, *words],
        env=environment(tmp_path) | slurm | chosen,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check(tmp_path / "run")
    assert (tmp_path / "run" / "ranks").is_dir()


@pytest.mark.slow
def test_the_submitit_launcher(words, tmp_path) -> None:
    """With submitit's executor of local processes."""
    pytest.importorskip("submitit", reason="pip install 'base-fast[slurm]'")
    launcher = [sys.executable, ROOT / "examples" / "submit_imagenet.py", "--cluster", "local", "--processes", "1"]
    launcher += ["--logs", tmp_path / "logs", "--", "--config", EXAMPLE, "--run", tmp_path / "run"]
    done = subprocess.run(
        [*launcher, *words], env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check(tmp_path / "run")
    assert shutil.which("sbatch") or "done" in done.stdout
