"""A trained network in its file: what it needs to be used is there, and what does not fit is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import base_fast as bf
from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig, save_network
from base_fast.runs import load_tensors, save_tensors
from base_fast.space import DARTS, NAS_BENCH_201, Genotype, genotypes
from base_fast.tasks import ArraySource

CONFIG = NetworkConfig(channels=4, layers=3, auxiliary=True)
NAMES = ("cat", "dog", "émeu")


@pytest.fixture(scope="module")
def task() -> bf.Task:
    images = torch.randint(256, (30, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = ArraySource("pets", images, [i % 3 for i in range(30)], NAMES)
    return bf.whole_task(source, resolution=12, key=bf.random.key(0))


@pytest.fixture(scope="module")
def saved(task: bf.Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bf.Network]:
    network = CONFIG.build(genotypes.DARTS_V2, 3, seed=0).cpu()
    network(torch.randn(8, 3, 32, 32))  # batch norms that are not as they started
    folder = tmp_path_factory.mktemp("run")
    save_network(folder / "network.safetensors", network, CONFIG, task)
    return folder, network.eval()


def test_it_comes_back_whole(task: bf.Task, saved: tuple[Path, bf.Network]) -> None:
    folder, network = saved
    for path in (folder, folder / "network.safetensors", str(folder)):
        found = bf.load_network(path)
        assert isinstance(found, bf.Network) and not found.training
        assert (found.class_names, found.resolution, found.genotype) == (NAMES, 12, genotypes.DARTS_V2)
        assert all(torch.equal(x, y) for x, y in zip(found.parameters(), network.parameters(), strict=True))
    x, _ = next(task.valid.batches(6))
    assert torch.equal(found(x), network(x))
    split = found.split(task.valid.images, task.valid.labels)
    assert torch.equal(bf.evaluate(found, split).confusion, bf.evaluate(network, task.valid).confusion)
    assert torch.equal(found.normalize(task.valid.images[:6]), x)
    assert torch.equal(found.classify(task.valid.images[:6]), found(x).softmax(1))
    assert torch.equal(copy.deepcopy(found)(x), found(x))
    # As parameters of one's own: it can be trained further.
    found.train()(torch.randn(4, 3, 32, 32))[0].sum().backward()
    assert all(p.grad is not None for n, p in found.named_parameters() if "auxiliary" not in n and "cells.0" not in n)


def test_images_are_read_as_training_reads_them(saved: tuple[Path, bf.Network], tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    found = bf.load_network(saved[0])
    array = torch.randint(256, (20, 26, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)).numpy()
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        image.fromarray(array).save(tmp_path / "photos" / name / "0.png")
    source = bf.open_source(bf.tasks.SourceConfig("folder", str(tmp_path / "photos")))
    file = tmp_path / "photos/b/0.png"
    assert torch.equal(found.read(file), source.images(torch.tensor([1]), 12)[0])
    assert torch.equal(found.read(file.read_bytes()), found.read(str(file)))


def test_the_space_is_in_the_file(task: bf.Task, saved: tuple[Path, bf.Network], tmp_path: Path) -> None:
    assert load_tensors(saved[0] / "network.safetensors")[1]["space"] == DARTS.to_dict()
    cell = Genotype.random(NAS_BENCH_201, 0)
    assert cell.known_space == NAS_BENCH_201
    assert Genotype.random(DARTS.with_nodes(2), 0).known_space == DARTS.with_nodes(2)
    assert genotypes.NASNet.known_space is None
    config = NetworkConfig("nas_bench_201", 4, 5)
    save_network(tmp_path / "n.safetensors", config.build(cell, 3, 0), config, task)
    assert bf.load_network(tmp_path / "n.safetensors").genotype == cell
    config = replace(CONFIG, auxiliary=False)
    save_network(tmp_path / "n.safetensors", config.build(genotypes.NASNet, 3, 0), config, task)
    assert bf.load_network(tmp_path / "n.safetensors").genotype == genotypes.NASNet


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, h: h.update(kind="posterior"), "of kind 'posterior', expected a network"),
        (lambda t, h: h.pop("inputs"), "inputs: missing"),
        (lambda t, h: h["inputs"].update(std=[1.0, 0.0, 1.0]), "inputs: mean, std: .* std above 0"),
        (lambda t, h: h["inputs"].update(mean=[0.0, float("nan"), 1.0]), "inputs: mean, std: .* finite"),
        (lambda t, h: h["inputs"].update(resolution=10**9), "inputs: resolution: (got )?1000000000"),
        (lambda t, h: h["inputs"].update(class_names=["a"]), "inputs: class_names: 1"),
        (
            lambda t, h: h["inputs"]["class_names"].append("d"),
            r"classifier.bias: torch.float32 \(3,\), expected .*\(4,\)",
        ),
        (lambda t, h: h["network"].update(layers=10**9), "layers: got 1000000000, expected"),
        (lambda t, h: h["network"].update(channels=10**9), "channels: got 1000000000, expected"),
        (lambda t, h: h["genotype"]["normal"].__setitem__(0, ["conv_9x9", 0]), "unknown primitive 'conv_9x9'"),
        (lambda t, h: t.pop("stem.0.weight"), "stem.0.weight: none, expected"),
        (lambda t, h: t.update(more=torch.zeros(1)), r"more: torch.float32 \(1,\), expected none"),
        (lambda t, h: t.update({"stem.0.weight": t["stem.0.weight"].half()}), "stem.0.weight: torch.float16"),
    ],
)
def test_what_does_not_fit_is_refused(
    saved: tuple[Path, bf.Network], tmp_path: Path, change: Any, message: str
) -> None:
    tensors, header = load_tensors(saved[0] / "network.safetensors")
    change(tensors, header)
    save_tensors(tmp_path / "n.safetensors", tensors, header)
    with pytest.raises(InputError, match=message) as found:
        bf.load_network(tmp_path / "n.safetensors")
    assert "n.safetensors: " in str(found.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read .*network.safetensors"):
        bf.load_network(tmp_path)
