"""The comparison on digits: its tables, and that a killed one resumes to the same tables."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from base_fast.cli import main
from base_fast.errors import InputError, Interrupted
from base_fast.evaluation import NetworkConfig, TrainConfig
from base_fast.experiments import CompareConfig, compare, prepare
from base_fast.meta import AdaptConfig, Budget, InnerConfig, MetaConfig, PlayOffConfig
from base_fast.meta.architecture import ArchitectureConfig
from base_fast.meta.evidence import CellEvidenceConfig
from base_fast.objectives import SharedTrainingConfig
from base_fast.posterior import Derivation
from base_fast.reports import comparison
from base_fast.reports.comparison import comparison_tables
from base_fast.runs import RunFolder, load_config, save_config, to_dict
from base_fast.runs.artefacts import Compared
from base_fast.space import Genotype
from base_fast.supernet import SupernetConfig
from base_fast.tasks import SourceConfig, TargetConfig, TaskConfig

ROOT = Path(__file__).resolve().parents[2]

INNER = InnerConfig(
    batch_size=8,
    architecture=ArchitectureConfig(cells=3, every=2),
    evidence=CellEvidenceConfig(
        images=20, own=SharedTrainingConfig(1, 8), batch_size=4, network=NetworkConfig(channels=2, layers=2)
    ),
)
CONFIG = CompareConfig(
    title="tiny",
    meta=MetaConfig(
        supernet=SupernetConfig(nodes=1, channels=2, layers=2, reductions=(1,), num_classes=5),
        inner=INNER,
        iterations=3,
        warmup=1,
        inner_steps=2,
        checkpoint_every=1,
    ),
    tasks=TaskConfig(sources=(SourceConfig(classes="0-4"),), ways=5, resolutions=(8,)),
    target=TargetConfig(train=SourceConfig(classes="5-9"), resolution=8),
    adapt=AdaptConfig(
        inner=INNER,
        budget=Budget(steps=4),
        evaluate_every=2,
        evaluate_images=50,
        checkpoint_every=1,
    ),
    play_off=PlayOffConfig(cells=2, neighbours=1, rounds=2, steps=1),
    network=NetworkConfig(channels=2, layers=3),
    train=TrainConfig(steps=4, batch_size=16, augmentation="none", evaluate_every=2, checkpoint_every=1, drop_path=0.0),
    seeds=2,
    random_genotypes=2,
    search_accuracy=0.2,
    network_accuracy=0.2,
)


def timeless(value: Any) -> Any:
    """Results as data, without the times in them."""
    if isinstance(value, dict):
        return {name: timeless(item) for name, item in value.items() if name != "seconds"}
    return [timeless(item) for item in value] if isinstance(value, list) else value


# One process makes what all of them look at.
pytestmark = pytest.mark.xdist_group("comparison")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Compared]:
    run = RunFolder.create(tmp_path_factory.mktemp("compare") / "run", "compare", CONFIG)
    return run, compare(CONFIG, run)


def test_results(whole: tuple[RunFolder, Compared]) -> None:
    run, compared = whole
    assert run.read("results", Compared) == compared
    ways, ranks = comparison_tables(compared)
    assert ways.columns == ("", "adapted from the prior", "searched from scratch", "random genotype")
    assert [row[0] for row in ways.rows][:2] == ["search steps to 20%", "search accuracy, 4 steps"]
    assert ways.rows[0][3] == "–"
    assert len(ranks.rows) == 4
    assert all(str(row[3]).endswith(" of 5") for row in ranks.rows)
    names = {
        f"{kind}-seed{seed}{i}"
        for seed in (0, 1)
        for kind, numbers in (("prior", [""]), ("scratch", [""]), ("random", ["-0", "-1"]))
        for i in numbers
    }
    assert {path.stem for path in (run.path / "genotypes").iterdir()} == names
    for name in names:
        genotype = run.read(f"genotypes/{name}", Genotype)
        if not name.startswith("random"):
            assert run.read(f"derivations/{name}", Derivation).genotype == genotype
    phases = {row["phase"] for row in run.rows()}
    assert {"meta/seed1", "adapt/prior-seed0", "adapt/scratch-seed1", "train/random-seed1-1"} <= phases


def test_the_seeds_differ_and_random_genotypes_do_not_repeat(whole: tuple[RunFolder, Compared]) -> None:
    run, compared = whole
    random = {run.read(f"genotypes/random-seed{seed}-{i}", Genotype) for seed in (0, 1) for i in (0, 1)}
    assert len(random) == 4
    losses = [[row.loss for row in repetition.prior.history] for repetition in compared.seeds]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("stage", ["fit", "adapt", "train"])
def test_a_comparison_cut_short_resumes_to_the_same_tables(
    whole: tuple[RunFolder, Compared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    run = RunFolder.create(tmp_path / "run", "compare", CONFIG)
    calls = {"log": 0}
    log = RunFolder.log
    head = {"fit": "meta/seed1", "adapt": "adapt/scratch-seed0", "train": "train/random-seed0-1"}[stage]

    def cut(self: RunFolder, phase: str, step: int, **values: Any) -> None:
        log(self, phase, step, **values)
        calls["log"] += phase == head
        if calls["log"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", cut)
        with pytest.raises(KeyboardInterrupt):
            compare(CONFIG, run)
    run.close()
    again = RunFolder.create(tmp_path / "run", "compare", CONFIG, resume=True)
    assert timeless(to_dict(compare(CONFIG, again))) == timeless(to_dict(whole[1]))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_config(tmp_path / "c.toml", replace(CONFIG, seeds=1))
    arguments = ["compare", "--config", str(tmp_path / "c.toml"), "--run", str(tmp_path / "run")]
    assert main(arguments) == 0
    assert "adapted from" in capsys.readouterr().out
    assert (tmp_path / "run/report/index.html").is_file()
    assert main(arguments) == 1
    assert "already holds a run" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seeds", 0, "seeds: got 0"),
        ("random_genotypes", 0, "random_genotypes: got 0"),
        ("search_accuracy", 1.5, "search_accuracy: got 1.5"),
        ("adapt", AdaptConfig(budget=Budget(steps=None, seconds=1.0)), "adapt.budget"),
        ("adapt", AdaptConfig(budget=Budget(steps=9, entropy_tolerance=1.0)), "adapt.budget"),
    ],
)
def test_refusals(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **{name: value})


def test_what_would_fail_late_is_refused_first(tmp_path: Path) -> None:
    supernet = CONFIG.meta.supernet
    for config, message in (
        (replace(CONFIG, meta=replace(CONFIG.meta, supernet=replace(supernet, reductions=(0, 1)))), "no normal cells"),
        (replace(CONFIG, target=TargetConfig(resolution=8)), "set head to 'own'"),
        (replace(CONFIG, meta=replace(CONFIG.meta, supernet=replace(supernet, stems=("64", "224")))), "stem '32'"),
        (replace(CONFIG, network=NetworkConfig(layers=3, auxiliary=True)), "auxiliary"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(config)


def test_ctrl_c_in_the_last_step_of_a_stage_stops_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RunFolder.log

    def interrupt(self: RunFolder, phase: str, step: int, **values: Any) -> None:
        log(self, phase, step, **values)
        if phase == "meta/seed0" and step == CONFIG.meta.iterations - 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunFolder, "log", interrupt)
    with pytest.raises(Interrupted, match="^stopped before adapt/prior-seed0$"):
        compare(CONFIG, RunFolder.create(tmp_path / "run", "compare", CONFIG))


@pytest.mark.parametrize("path", [*sorted((ROOT / "examples").glob("*to_cifar10.toml")), ROOT / "examples/digits.toml"])
def test_example_files_load(path: Path) -> None:
    assert load_config(path, CompareConfig).title


def test_numbers_in_words() -> None:
    assert comparison.percent([0.5]) == "50.0 %"
    assert comparison.percent([0.4, 0.6]) == "50.0 ± 14.1 %"
    assert comparison.percent([]) == "–"
    assert comparison.steps([2, 4], 10) == "3 ± 1"
    assert comparison.steps([2, None], 10) == "2 (1 of 2 never)"
    assert comparison.steps([None], 10) == "> 10"
    assert comparison.steps([None], None) == "never"
