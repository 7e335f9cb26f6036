"""A space and a primitive of one's own through every command, from a configuration file and `--register`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from base_fast.cli import main
from base_fast.errors import InputError
from base_fast.experiments import CollectConfig
from base_fast.meta import MetaConfig, MetaTrainer
from base_fast.posterior import Posterior
from base_fast.runs import load_config, save_config
from base_fast.space import PRIMITIVES, Space, get
from base_fast.strategies import SearchSettings, open_search
from base_fast.supernet import SupernetConfig

OPS = """
from torch import nn
import base_fast as bf

def biased(channels, stride, affine):
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, 1, stride), nn.BatchNorm2d(channels, affine=affine))

bf.space.register("biased_1x1", biased)
"""
SPACE = """
name = "mine"
primitives = ["none", "skip_connect", "biased_1x1"]
inputs = 2
nodes = 2
cell_types = ["normal", "reduce"]
concat = [2, 3]
arity = 2
"""
MINE = Space("mine", ("none", "skip_connect", "biased_1x1"), 2, 2, ("normal", "reduce"), (2, 3), 2)
TARGET = '[target]\nresolution = 8\ntrain = { kind = "digits", classes = "5-9" }\n'
SMALL = 'channels = 4\nlayers = 3\ndevice = "cpu"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "ops.py").write_text(OPS)
    monkeypatch.chdir(tmp_path)
    before = dict(PRIMITIVES)
    yield tmp_path
    PRIMITIVES.clear()
    PRIMITIVES.update(before)


def test_from_meta_training_to_a_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "meta.toml").write_text(
        '[meta]\niterations = 1\ninner_steps = 1\nwarmup = 0\ndevice = "cpu"\ninner = { z = "soft" }\n'
        f"[meta.supernet]\nchannels = 2\nlayers = 3\nnum_classes = 2\n[meta.supernet.space]{SPACE}"
        '[tasks]\nways = 2\nresolutions = [8]\n[[tasks.sources]]\nkind = "digits"\nclasses = "0-4"\n'
    )
    (folder / "adapt.toml").write_text(
        'rule = "darts"\n[adapt]\ndevice = "cpu"\nbudget = { steps = 1 }\n'
        f'inner = {{ z = "soft", head = "own" }}\n{TARGET}'
    )
    (folder / "train.toml").write_text(f"[network]\n{SMALL}[train]\nepochs = 1\n{TARGET}")
    meta = ["meta-train", "--config", "meta.toml", "--run", "meta"]
    assert main(meta) == 1
    said = capsys.readouterr().err
    assert "primitives: got 'biased_1x1'" in said and "--register FILE.py" in said and said.count("\n") == 1

    own = ["--register", "ops.py"]
    assert main([*meta, *own]) == 0
    posterior = Posterior.load(folder / "meta" / "posterior.safetensors")
    assert posterior.space == MINE
    assert (
        main(["adapt", *own, "--config", "adapt.toml", "--posterior", "meta/posterior.safetensors", "--run", "a"]) == 0
    )
    assert (
        main(["derive", "--posterior", "a/posterior.safetensors", "--out", "genotype.json", "--register=ops.py"]) == 0
    )
    cells = {
        "normal": [["biased_1x1", 0], ["skip_connect", 1]] * 2,
        "reduce": [["biased_1x1", 0], ["skip_connect", 1]] * 2,
    }
    (folder / "cell.json").write_text(json.dumps(cells | {"normal_concat": [2, 3], "reduce_concat": [2, 3]}))
    assert main(["train", "--config", "train.toml", *own, "--genotype", "cell.json", "--run", "t"]) == 0
    assert main(["evaluate", "t", *own]) == 0
    assert main(["report", "a", *own]) == 0
    assert "biased 1×1" in (folder / "a" / "report" / "index.html").read_text(encoding="utf-8")


def test_searches_and_collections(folder: Path) -> None:
    exec(OPS, {"__name__": "ops"})
    (folder / "search.toml").write_text(
        f'[search]\nstrategy = "evolution"\nqueries = 3\n[search.space]{SPACE}'
        f'[supernet]\nspace = "mine"\nchannels = 2\nlayers = 3\nnum_classes = 5\n'
        f'[objective]\nkinds = ["size"]\n[objective.network]\n{SMALL}{TARGET}'
    )
    assert main(["search", "--config", "search.toml", "--run", "s"]) == 0
    assert json.loads((folder / "s" / "search.json").read_text())["space"]["name"] == "mine"
    settings = load_config(folder / "search.toml", SearchSettings)
    assert settings.search.space == MINE
    one_shot = load_config(_changed(folder, "evolution", "random_sharing", "size", "shared_weights"), SearchSettings)
    assert open_search(one_shot).supernet.space == MINE
    wrong = replace(one_shot, supernet=replace(one_shot.supernet, space="darts"))
    with pytest.raises(InputError, match=r"supernet\.space: got 'darts', expected 'mine' as in search\.space"):
        open_search(wrong)

    config = CollectConfig(space=MINE, cells=2)
    save_config(folder / "collect.toml", config)
    assert load_config(folder / "collect.toml", CollectConfig) == config


def _changed(folder: Path, *words: str) -> Path:
    text = (folder / "search.toml").read_text()
    for was, now in zip(words[::2], words[1::2], strict=True):
        text = text.replace(f'"{was}"', f'"{now}"')
    (folder / "changed.toml").write_text(text)
    return folder / "changed.toml"


def test_a_space_from_python(folder: Path) -> None:
    exec(OPS, {"__name__": "ops"})
    trainer = MetaTrainer(MetaConfig(supernet=SupernetConfig(MINE, channels=2, layers=3), device="cpu"))
    assert trainer.supernet.space is MINE
    assert SupernetConfig(MINE, nodes=3).build_space() == MINE.with_nodes(3)
    assert get(MINE) is MINE


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("nodes = 2", "node = 2", r"supernet\.space\.node: unknown key \(did you mean nodes\?\)"),
        ("nodes = 2", "", r"supernet\.space\.nodes: missing; expected an integer"),
        ("nodes = 2", 'nodes = "2"', r"supernet\.space\.nodes: got '2' \(str\); expected an integer"),
        ("concat = [2, 3]", "concat = [4]", r"supernet\.space: concat: no node 4; the cell's nodes are 2 to 3"),
        ('"none", ', "", r"supernet\.space: primitives: no 'none'"),
    ],
)
def test_a_wrong_table_names_its_key(was: str, now: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f"[supernet.space]{SPACE.replace(was, now)}")
    with pytest.raises(InputError, match=message):
        load_config(tmp_path / "c.toml", MetaConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import base_fast\n1 / 0\n", "--register ops.py: line 2: ZeroDivisionError: division by zero"),
        ("import no_such_thing\n", "--register ops.py: line 1: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def f(:\n", "--register ops.py: SyntaxError: "),
        (
            "import base_fast as bf\nbf.space.register('none', len)\n",
            "ops.py: line 2: name: 'none' is the name of anot",
        ),
    ],
)
def test_what_goes_wrong_in_a_user_s_file(
    text: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ops.py").write_text(text)
    assert main(["doctor", "--register", "ops.py"]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--register"], "--register: nothing follows, expected a Python file or module"),
        (["--register", "--run", "x"], "--register: nothing follows"),
        (["--register", "gone.py"], "--register gone.py: no such file"),
        (
            ["--register", "no_such_module"],
            "--register: no module 'no_such_module', expected one, or a file whose name",
        ),
    ],
)
def test_what_is_no_file(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *words]) == 1
    assert message in capsys.readouterr().err


def test_a_configuration_file_and_a_posterior_execute_nothing(folder: Path) -> None:
    """A file that names a primitive, even one that is called as a module nearby, does not import it."""
    (folder / "biased_1x1.py").write_text("raise SystemExit('executed')\n")
    (folder / "c.toml").write_text(f"[supernet.space]{SPACE}")
    assert load_config(folder / "c.toml", MetaConfig).supernet.space == MINE
    assert "biased_1x1" not in PRIMITIVES
