"""Files that are damaged, or made to do harm, end in one short line, in no time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from base_fast import random
from base_fast.errors import InputError
from base_fast.evaluation import TrainConfig
from base_fast.posterior import Posterior
from base_fast.runs import Clock, RunFolder, Step, load_config, load_tensors, run_loop, save_tensors
from base_fast.space import DARTS, Space
from base_fast.supernet import Supernet, SupernetConfig

TENSORS = {
    "a": torch.arange(12.0).view(3, 4),
    "b": torch.tensor(7),
    "c": torch.ones(5, dtype=torch.bfloat16),
    "d": torch.zeros(0, 2),
    "e": torch.tensor([True, False]),
}


def refused(message: str, call: Any, *arguments: Any) -> None:
    with pytest.raises(InputError, match=message) as found:
        call(*arguments)
    assert len(str(found.value)) < 700 and "\n" not in str(found.value)


def test_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, TENSORS, {"steps": 3, "name": "é"})
    whole = path.read_bytes()
    found, header = load_tensors(path)
    assert header == {"steps": 3, "name": "é"} and found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], x) for name, x in TENSORS.items())
    start = 8 + int.from_bytes(whole[:8], "little")
    checksum = whole.index(b"sha256")
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        # Neither the spaces that fill the header up nor the name of the checksum change what is read.
        if place < start and (whole[place : place + 1].isspace() or checksum <= place < checksum + 6):
            continue
        refused("x.safetensors", load_tensors, path)


def test_files_without_a_checksum_are_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(TENSORS, tmp_path / "x.safetensors", metadata={"header": json.dumps({"kind": "x"})})
    assert load_tensors(tmp_path / "x.safetensors")[1] == {"kind": "x"}


class Counting:
    """A process of six steps."""

    def start(self, clock: Clock) -> Step[torch.Tensor]:
        return Step(torch.zeros(1))

    def step(self, state: torch.Tensor, clock: Clock) -> Step[torch.Tensor]:
        return Step(state + 1, {"value": float(state)})

    def pack(self, state: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return {"state": state}, {}

    def unpack(self, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> torch.Tensor:
        return tensors["state"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 100}, "checkpoint count: steps: got 100, expected 0 to 6"),
        ({"steps": -1}, "steps: got -1"),
        ({"steps": "3"}, "steps: got '3'"),
        ({"seconds": -1.0}, "seconds -1.0"),
        ({"seconds": float("nan")}, "seconds nan"),
        ({"logged": -2}, "logged -2"),
        ({"rows": -1}, "rows -1"),
    ],
)
def test_a_checkpoint_cannot_stand_where_no_run_comes_to(tmp_path: Path, change: Any, message: str) -> None:
    with RunFolder.create(tmp_path / "run", "count", TrainConfig()) as run:
        assert run_loop(Counting(), name="count", total=6, run=run).steps == 6
        tensors, header = run.load_checkpoint("count")  # type: ignore[misc]
        run.save_checkpoint("count", tensors, {**header, **change})
        refused(message, lambda: run_loop(Counting(), name="count", total=6, run=run))


@pytest.mark.parametrize("lost", [slice(0, 2), slice(2, 4), slice(4, 6), slice(0, 6)])
def test_rows_that_are_lost_are_missed(tmp_path: Path, lost: slice) -> None:
    with RunFolder.create(tmp_path / "run", "count", TrainConfig()) as run:
        run_loop(Counting(), name="count", total=6, run=run)
        assert run_loop(Counting(), name="count", total=6, run=run).steps == 6  # nothing is missed
        file = tmp_path / "run/metrics.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        del lines[lost]
        file.write_text("".join(lines))
        with pytest.warns(UserWarning, match=r"metrics.jsonl lacks \d of 6 rows of count"):
            run_loop(Counting(), name="count", total=6, run=run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deeply|not valid TOML"),
        ("a = " + "{b = " * 5000 + "1" + "}" * 5000, "nested too deeply|not valid TOML"),
        ("a." * 2000 + "a = 1", "nested too deeply|unknown key"),
        ("epochs = " + "9" * 5000, "not valid TOML"),
        ("epochs = '" + "x" * 1_000_000 + "'", "epochs: got 'xxx.*expected an integer"),
        ("epochs = [" + "[1, 2, 3], " * 2000 + "]", r"epochs: got \[\[1, 2, 3\], .*expected an integer"),
        ("augmentation = '" + "x" * 1_000_000 + "'", "augmentation: got 'xxx.*expected one of"),
        ("x" * 1_000_000 + " = 1", "xxx.*unknown key"),
        ("epochs = nan", "epochs: got nan"),
        ("\0", "not valid TOML"),
    ],
)
def test_odd_configuration_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    refused(message, load_config, tmp_path / "c.toml", TrainConfig)


@pytest.fixture
def posterior(tmp_path: Path) -> Path:
    Supernet("darts", 2, 1, 5).prior(random.key(0)).save(tmp_path / "p.safetensors")
    return tmp_path / "p.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, h: h["space"].update(nodes=10**18), "nodes: .*1000000000000000000"),
        (lambda t, h: h["space"].update(inputs=10**18), "inputs: .*1000000000000000000"),
        (lambda t, h: h["space"].update(concat=[2] * 100_000), "concat: node 2 appears 100000 times"),
        (lambda t, h: h["space"].update(primitives=[f"p{i}" for i in range(20_001)]), "primitives: 20,001"),
        (lambda t, h: h.update(lineage=5), "header is malformed"),
        (lambda t, h: h["layout"].update(names=5), "header is malformed"),
        (lambda t, h: t.update(mu=t["mu"].to(torch.float8_e4m3fn)), "mu: got torch.float8_e4m3fn, expected"),
        (lambda t, h: t.update(mu=t["mu"].long()), "mu: got torch.int64, expected a floating-point"),
    ],
)
def test_posteriors_made_to_do_harm(posterior: Path, change: Any, message: str) -> None:
    tensors, header = load_tensors(posterior)
    change(tensors, header)
    save_tensors(posterior, tensors, header)
    refused(message, Posterior.load, posterior)


@pytest.mark.parametrize("name", ["layers", "channels", "num_classes"])
def test_supernets_that_would_build_for_ever(posterior: Path, name: str) -> None:
    loaded = Posterior.load(posterior)
    refused(name, lambda: Supernet.for_posterior(replace(loaded, config={**loaded.config, name: 10**9})))
    refused(name, lambda: SupernetConfig(**{name: 10**9}))


def test_a_header_that_is_nested_deeply(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    for deep in ("[" * 100_000, '{"a":' * 100_000, "9" * 5000):
        safetensors.save_file(TENSORS, tmp_path / "x.safetensors", metadata={"header": deep})
        refused("without a base_fast header", load_tensors, tmp_path / "x.safetensors")
        (tmp_path / "y.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep.encode())
        refused("not a safetensors file", load_tensors, tmp_path / "y.safetensors")


def test_edges_are_counted_not_listed() -> None:
    assert DARTS.num_edges == len(DARTS.edges) == 14
    large = Space("l", DARTS.primitives, 2, 100, ("normal",), (2,), 2)
    assert large.num_edges == sum(range(2, 102)) and large.incoming(50) == range(sum(range(2, 50)), sum(range(2, 51)))
