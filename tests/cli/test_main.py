"""The command line end to end: runs, interruptions, bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from base_fast.cli import main
from base_fast.cli.adapt import AdaptSettings
from base_fast.cli.main import COMMANDS
from base_fast.cli.meta_train import MetaTrainSettings
from base_fast.cli.train import TrainSettings
from base_fast.errors import Diverged
from base_fast.meta import Elbo
from base_fast.meta.inner import InnerLoop, InnerState
from base_fast.posterior import Posterior
from base_fast.runs import RunFolder, load_config, load_tensors, save_tensors
from base_fast.runs.artefacts import Searched, TrainedNetwork
from base_fast.space import DARTS, NAS_BENCH_201, Genotype, genotypes
from base_fast.supernet import Supernet

ROOT = Path(__file__).resolve().parents[2]

META = """
[meta]
iterations = {iterations}
warmup = 2
inner_steps = 2
checkpoint_every = 2
record_every = 2
[meta.supernet]
nodes = 1
channels = 2
layers = 1
num_classes = 5
[meta.inner]
batch_size = 8
architecture = {{ cells = 3 }}
evidence = {{ images = 20, own = {{ steps = 1 }}, batch_size = 4, network = {{ channels = 2, layers = 2 }} }}
[tasks]
ways = 5
resolutions = [8]
[[tasks.sources]]
kind = "digits"
classes = "0-4"
"""

ADAPT = """
[adapt]
evaluate_every = 2
budget.steps = 4
warmup = 2
[adapt.inner]
batch_size = 8
head = "own"
architecture = {cells = 3, every = 3}
evidence = {images = 20, own = {steps = 1}, batch_size = 4, network = {channels = 2, layers = 2}}
[play_off]
cells = 3
neighbours = 1
rounds = 2
steps = 1
[target]
resolution = 8
train = {kind = "digits", classes = "5-9"}
"""

TRAIN = """
[network]
channels = 2
layers = 2
[train]
steps = 4
batch_size = 16
augmentation = "none"
[target]
resolution = 8
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "meta.toml").write_text(META.format(iterations=4))
    (tmp_path / "adapt.toml").write_text(ADAPT)
    (tmp_path / "train.toml").write_text(TRAIN)
    return tmp_path


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_from_images_to_a_network(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prior = files / "prior/posterior.safetensors"
    assert run("meta-train", "--config", files / "meta.toml", "--run", files / "prior", "--meta.iterations", 3) == 0
    assert "3 meta-iterations" in capsys.readouterr().out
    assert Posterior.load(prior).lineage[-1]["iterations"] == 3

    assert run("adapt", f"--config={files / 'adapt.toml'}", "--posterior", prior, "--run", files / "adapted") == 0
    out = capsys.readouterr().out
    assert "4 steps" in out
    assert "derived: normal:" in out
    assert [event["event"] for event in Posterior.load(files / "adapted/posterior.safetensors").lineage] == [
        "meta-train",
        "adapt",
    ]

    genotype = files / "genotype.json"
    posterior = files / "adapted/posterior.safetensors"
    assert run("derive", "--posterior", posterior, "--rule", "pairs", "--k", 2, "--out", genotype) == 0
    assert "most probable genotypes" in capsys.readouterr().out
    Genotype.from_json(genotype.read_text()).validate()

    config = files / "train.toml"
    assert run("train", "--genotype", genotype, "--config", config, "--run", files / "network") == 0
    trained = capsys.readouterr().out
    assert "4 steps" in trained
    assert run("evaluate", "--run", files / "network", "--latency") == 0
    evaluated = capsys.readouterr().out
    result = RunFolder.open(files / "network").read("results", TrainedNetwork)
    assert f"accuracy    {100 * result.accuracy:.2f} %" in evaluated
    assert f"parameters  {result.parameters:,}\n" in evaluated
    assert RunFolder.open(files / "adapted").read("results", Searched).steps == 4

    for folder in ("prior", "adapted", "network"):
        assert run("report", files / folder) == 0
        assert (files / folder / "report/index.html").stat().st_size > 5000


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)
    assert run("--version") == 0
    assert run("frobnicate") == 2
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            run(name, "--help")
        assert stop.value.code == 0
        assert "usage: base-fast " + name in capsys.readouterr().out


# Sends its own process a signal at the n-th row of metrics: no test waits for the right moment.
SIGNALLED = """
import os, sys
from base_fast.runs import RunFolder
log, left = RunFolder.log, [int(os.environ["ROWS"])]
def cut(self, *arguments, **values):
    log(self, *arguments, **values)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))
RunFolder.log = cut
sys.argv[0] = "base-fast"
from base_fast.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["meta-train", "adapt"])
def test_interruption_then_resume_gives_the_same_bits(files: Path, command: str) -> None:
    """Ctrl-C, then a kill, on the real process; the result and the metrics equal those of a run that never stopped."""
    given: list[object] = ["meta-train", "--config", files / "meta.toml", "--meta.iterations", 12]
    if command == "adapt":
        posterior = posterior_file(files / "p.safetensors", Supernet("darts", 2, 1, 5))
        given = ["adapt", "--config", files / "adapt.toml", "--posterior", posterior, "--adapt.budget.steps", 12]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(folder: str, *more: str, rows: int = 0, kill: int = 0) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", SIGNALLED, *map(str, given), "--run", str(files / folder), *more]
        signals = {"ROWS": str(rows), "SIGNAL": str(int(kill))}
        return subprocess.run(words, env={**environment, **signals}, text=True, capture_output=True, check=False)

    assert start("whole").returncode == 0
    stopped = start("stopped", rows=5, kill=signal.SIGINT)
    assert stopped.returncode == 130
    assert "--resume" in stopped.stderr.splitlines()[-1]
    assert not (files / "stopped/posterior.safetensors").exists()
    assert start("stopped", "--resume", rows=4, kill=signal.SIGKILL).returncode == -signal.SIGKILL
    assert start("stopped", "--resume").returncode == 0

    one, other = (load_tensors(files / folder / "posterior.safetensors")[0] for folder in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in ("mu", "rho", "alpha"))
    timeless = [
        [{k: v for k, v in row.items() if k not in ("time", "times")} for row in RunFolder.open(files / f).rows()]
        for f in ("whole", "stopped")
    ]
    assert timeless[0] == timeless[1]


def posterior_file(path: Path, supernet: Supernet) -> Path:
    supernet.prior(torch.tensor([0, 0])).save(path)
    return path


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command says when it refuses: exactly one line."""
    assert run(*arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_refusals(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = posterior_file(files / "p.safetensors", Supernet("darts", 2, 1, 5))
    meta = ["meta-train", "--config", files / "meta.toml"]
    adapt = ["adapt", "--config", files / "adapt.toml"]
    train = ["train", "--config", files / "train.toml", "--run", files / "t"]
    assert "--run: not given" in complaint(capsys, *meta)
    assert "--posterior: not given" in complaint(capsys, *adapt)
    assert "nothing follows" in complaint(capsys, "meta-train", "--config")
    assert "no.toml" in complaint(capsys, "meta-train", "--config", files / "no.toml")
    assert "ways: 6, but digits" in complaint(capsys, *meta, "--run", files / "a", "--tasks.ways", 6)
    assert "5 classes for a head of 7" in complaint(
        capsys, *meta, "--run", files / "b", "--meta.supernet.num-classes", 7
    )
    assert "no file" in complaint(capsys, *train, "--genotype", "nothing.json")
    assert "DARTS_V2" in complaint(capsys, *train, "--genotype", "DARTS_V3")
    assert "--genotype: not given" in complaint(capsys, *train)
    assert "is not a folder" in complaint(capsys, "report", files / "nowhere")
    assert "--config: this command" in complaint(capsys, "derive", "--config", files / "meta.toml")

    data = small.read_bytes()
    (files / "cut.safetensors").write_bytes(data[: len(data) // 2])
    assert "cut.safetensors" in complaint(capsys, "derive", "--posterior", files / "cut.safetensors")
    save_tensors(files / "other.safetensors", {"x": torch.zeros(1)}, {"kind": "network"})
    assert "expected a posterior" in complaint(capsys, "derive", "--posterior", files / "other.safetensors")
    assert "already holds a run" in complaint(capsys, *adapt, "--posterior", small, "--run", first_run(files))


def test_an_option_out_of_range_is_bad_usage(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("meta-train", "--config", files / "meta.toml", "--run", files / "c", "--meta.inner.mu.lr", -1)
    assert stop.value.code == 2
    assert "lr: got -1.0" in capsys.readouterr().err
    assert not (files / "c").exists()


def first_run(files: Path) -> Path:
    """A folder that already holds a run."""
    RunFolder.create(files / "old", "adapt", AdaptSettings()).close()
    return files / "old"


def test_a_posterior_of_another_space_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = posterior_file(files / "n.safetensors", Supernet(NAS_BENCH_201, 2, 5, 5))
    adapt = ["adapt", "--config", files / "adapt.toml", "--posterior", other, "--run", files / "adapted"]
    tensors, header = load_tensors(other)
    header["config"]["channels"] = 3
    save_tensors(other, tensors, header)
    assert "does not fit the supernet" in complaint(capsys, *adapt)
    header["space"] = DARTS.to_dict()
    save_tensors(other, tensors, header)
    assert "expected (2, 14, 8) from space 'darts'" in complaint(capsys, *adapt)
    start = ["--start", posterior_file(files / "o.safetensors", Supernet(NAS_BENCH_201, 2, 5, 5))]
    said = complaint(capsys, "meta-train", "--config", files / "meta.toml", "--run", files / "m", *start)
    assert "does not fit the supernet" in said


def test_resuming_with_another_input_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = posterior_file(files / "1.safetensors", Supernet("darts", 2, 1, 5))
    adapt = ["adapt", "--config", files / "adapt.toml", "--run", files / "adapted", "--posterior"]
    assert run(*adapt, one) == 0
    other = Posterior.load(one)
    other.evolve([other.mu + 1, other.rho, other.alpha], {}).save(files / "2.safetensors")
    capsys.readouterr()
    assert "another posterior" in complaint(capsys, *adapt, files / "2.safetensors", "--resume")
    train = ["train", "--config", files / "train.toml", "--run", files / "t", "--genotype"]
    assert run(*train, "DARTS_V1") == 0
    capsys.readouterr()
    assert "another genotype" in complaint(capsys, *train, "DARTS_V2", "--resume")


def test_files_that_cannot_be_written_or_read(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    posterior = posterior_file(files / "p.safetensors", Supernet("darts", 2, 1, 5))
    assert run("derive", "--posterior", posterior, "--out", files) == 1
    assert "Traceback" not in capsys.readouterr().err
    (files / "g.json").write_bytes(b"\xff\xfe")
    train = ["train", "--config", files / "train.toml", "--run", files / "t", "--genotype"]
    assert "is not text" in complaint(capsys, *train, files / "g.json")
    (files / "t").mkdir()
    (files / "t/config.toml").write_text("mine = 1")
    assert "holds config.toml but no run" in complaint(capsys, *train, "DARTS_V1")
    assert "is not finished" in complaint(capsys, "evaluate", "--run", unfinished(files))


def unfinished(files: Path) -> Path:
    """A training that was started only."""
    RunFolder.create(files / "u", "train", TrainSettings())
    return files / "u"


@pytest.mark.parametrize("name", ["meta_train", "adapt", "train"])
def test_example_files_load(name: str) -> None:
    settings = {"meta_train": MetaTrainSettings, "adapt": AdaptSettings, "train": TrainSettings}[name]
    assert load_config(ROOT / f"examples/{name}.toml", settings)


def test_divergence_is_one_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--meta.inner.mu.lr", "1e30", "--meta.inner.clip", "0"]
    said = complaint(capsys, "meta-train", "--config", files / "meta.toml", "--run", files / "r", *options)
    assert "after 0 of 4 meta-iterations" in said
    assert "no checkpoint was written yet" in said


def test_after_a_divergence_another_run_continues(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = InnerLoop.step
    left = [7]

    def diverging(self: InnerLoop, state: InnerState) -> tuple[InnerState, Elbo, float]:
        left[0] -= 1
        if left[0] == 0:
            raise Diverged("inner step 0: loss nan")
        return step(self, state)

    monkeypatch.setattr(InnerLoop, "step", diverging)
    said = complaint(capsys, "meta-train", "--config", files / "meta.toml", "--run", files / "r")
    assert "the checkpoint after 2 of 4 meta-iterations is kept" in said
    kept = files / "r/last_good.safetensors"
    assert f"--start {kept}" in said
    again = ["meta-train", "--config", files / "meta.toml", "--meta.inner.mu.lr", "0.1", "--start", kept]
    assert run(*again, "--run", files / "s") == 0
    assert [event["iterations"] for event in Posterior.load(files / "s/posterior.safetensors").lineage] == [2, 4]


def test_published_genotypes_train(files: Path) -> None:
    options = ["--train.steps", "2", "--run", files / "t"]
    assert run("train", "--genotype", "BASE_CIFAR_TUNED", "--config", files / "train.toml", *options) == 0
    compact = genotypes.DARTS_V2.compact()
    assert (
        run("train", "--genotype", compact, "--config", files / "train.toml", *options[:2], "--run", files / "u") == 0
    )
    assert RunFolder.open(files / "t").read("genotype", Genotype) == genotypes.BASE_CIFAR_TUNED
