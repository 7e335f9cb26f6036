"""Resuming notices other data, and nothing else about where it lies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from base_fast.cli.adapt import AdaptSettings
from base_fast.cli.meta_train import MetaTrainSettings
from base_fast.cli.train import Train, TrainSettings
from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig, TrainConfig
from base_fast.meta import AdaptConfig, MetaConfig
from base_fast.tasks import SourceConfig, TargetConfig, TaskConfig, open_target, open_tasks


def images(top: Path, names: str = "ab", count: int = 4, seed: int = 0) -> Path:
    """As BMP, whose files keep their size whatever is in them."""
    for name in names:
        (top / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            noise = np.random.default_rng([seed, i, ord(name)]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).save(top / name / f"{i}.bmp")
    return top


def one_pixel(top: Path) -> None:
    file = top / "b" / "3.bmp"
    with Image.open(file) as image:
        pixels = np.array(image)
    pixels[4, 4] ^= 1
    Image.fromarray(pixels).save(file)


def swapped(top: Path) -> None:
    (top / "a").rename(top / "x")
    (top / "b").rename(top / "a")
    (top / "x").rename(top / "b")


OTHER = {
    "other pixels": lambda top: images(top, seed=1),
    "one pixel": one_pixel,
    "swapped classes": swapped,
    "renamed class": lambda top: (top / "b").rename(top / "c"),
    "more images": lambda top: images(top, count=5),
    "fewer images": lambda top: (top / "a" / "0.bmp").unlink(),
    "another class": lambda top: images(top, "c"),
}


def source(top: Path) -> SourceConfig:
    return SourceConfig("folder", str(top))


def resume(run: Path, kind: str, top: Path, again: bool = True) -> None:
    if kind == "meta-train":
        tasks = TaskConfig((source(top),), ways=2, resolutions=(8,))
        settings, data = MetaTrainSettings(tasks=tasks), open_tasks(tasks)
    else:
        target = TargetConfig(source(top), resolution=8)
        settings = TrainSettings(target=target) if kind == "train" else AdaptSettings(target=target)
        data = open_target(target)
    Train(run, resume=again).open_run(kind, settings, data).close()


@pytest.mark.parametrize("kind", ["train", "adapt", "meta-train"])
@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_other_data_is_noticed(tmp_path, kind, change):
    top = images(tmp_path / "pets")
    resume(tmp_path / "run", kind, top, again=False)
    change(top)
    with pytest.raises(InputError, match="run was made with another data set"):
        resume(tmp_path / "run", kind, top)


@pytest.mark.parametrize("kind", ["train", "adapt", "meta-train"])
def test_data_that_moved_is_the_same(tmp_path, kind):
    top = images(tmp_path / "pets")
    resume(tmp_path / "run", kind, top, again=False)
    resume(tmp_path / "run", kind, top)
    shutil.copytree(top, tmp_path / "elsewhere" / "animals")
    shutil.rmtree(top)
    resume(tmp_path / "run", kind, tmp_path / "elsewhere" / "animals")


def test_devices_and_intervals_may_change_and_what_is_computed_may_not(tmp_path):
    target = TargetConfig(source(images(tmp_path / "pets")), resolution=8)
    data = open_target(target)
    first = TrainSettings(target=target)

    def resumed(settings: TrainSettings) -> None:
        Train(tmp_path / "run", resume=True).open_run("train", settings, data).close()

    resumed(first)
    resumed(replace(first, network=NetworkConfig(device="cpu"), train=TrainConfig(log_every=3, checkpoint_every=7)))
    kept = replace(target, train=replace(target.train, cache=False, cache_dir="/x", max_corrupt=0.5, name="other"))
    resumed(replace(first, target=kept))
    for other in (TrainConfig(lr=1.0), TrainConfig(epochs=7), TrainConfig(seed=1), TrainConfig(evaluate_every=3)):
        with pytest.raises(InputError, match=r"another configuration: train\."):
            resumed(replace(first, train=other))
    for config in (MetaConfig(device="cpu", checkpoint_every=9), AdaptConfig(device="cpu", checkpoint_every=9)):
        settings = MetaTrainSettings(config) if isinstance(config, MetaConfig) else AdaptSettings(config)
        for now in (type(settings)(), settings):
            run = tmp_path / type(config).__name__
            Train(run, resume=True).open_run("other", now, data).close()
