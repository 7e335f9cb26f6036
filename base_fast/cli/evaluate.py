"""Score a trained network on labelled images, class by class, and count its parameters and multiply-adds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch

from base_fast.cli.command import Flat, RunReader, required
from base_fast.cli.train import TrainSettings
from base_fast.errors import InputError
from base_fast.evaluation import Classifier, count_macs, count_parameters, evaluate, load_network, measure_latency
from base_fast.evaluation.classifier import FILE
from base_fast.reports import print_table
from base_fast.reports.confusion import class_table, draw_confusion
from base_fast.reports.render import png
from base_fast.runs import RunFolder, atomic_write
from base_fast.tasks import OnDemand, Source, Split, TargetConfig, images_of, open_source, open_target
from base_fast.tasks.image_folder import open_image_folder


@dataclass(frozen=True)
class EvaluateSettings:
    """The data; by default that of the training."""

    target: TargetConfig = TargetConfig()


@dataclass(frozen=True)
class Evaluate(RunReader):
    """Scores the validation images of a training run, or those of a folder; leaves the scores, the accuracy of every
    class and the confusion matrix in RUN/evaluations/, as JSON and as picture."""

    folder: Path | None = None
    """Score these images instead: a folder of one folder per class, with the names of the network's classes."""
    batch_size: int = 256
    """Images at once."""
    latency: bool = False
    """Measure the time of one image, too."""
    device: str = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:<number>."""
    Settings: ClassVar = EvaluateSettings
    settings: Annotated[EvaluateSettings, Flat] = EvaluateSettings()

    @classmethod
    def settings_of(cls, run: RunFolder) -> EvaluateSettings:
        if run.kind != "train":
            raise InputError(f"--run: {run.path} holds a run of kind {run.kind!r}, expected 'train'")
        return EvaluateSettings(run.config(TrainSettings).target)

    def execute(self) -> int:
        run = RunFolder.open(required("run", self.run, "the folder of a finished training"))
        if not (run.path / FILE).exists():
            raise InputError(f"--run: {run.path} is not finished; go on with: {run.info.started.command} --resume")
        network = load_network(run.path, self.device)
        name, split = self._images(network)
        scores = evaluate(network, split, self.batch_size)
        scored = scores.scored(name, network.class_names)
        shape = (3, split.resolution, split.resolution)
        heads = ", the auxiliary head not counted" if network.config.auxiliary else ""
        print(f"{name}: {len(split):,} images")
        print(
            f"accuracy    {100 * scores.accuracy:.2f} %   top 5 {100 * scores.top5:.2f} %   loss {scores.loss:.4f} nats"
        )
        print(f"parameters  {count_parameters(network, auxiliary=False):,}{heads}")
        print(f"MACs        {count_macs(network, shape).conv_linear:,} (convolutions and linear layers, one image)")
        if self.latency:
            timing = measure_latency(network, shape)
            spread = f"80 % of {timing.repeats} passes: {1e3 * timing.low:.2f} to {1e3 * timing.high:.2f}"
            print(f"latency     {1e3 * timing.median:.2f} ms for one image, the median ({spread})")
        print_table(class_table(scored))
        file = f"evaluations/{re.sub(r'[^A-Za-z0-9_-]+', '_', name)}"
        run.write(file, scored)
        atomic_write(run.path / f"{file}.png", png(draw_confusion(scored)))
        print(f"{run.path / file}.json and .png: accuracy of every class, confusion matrix")
        return 0

    def _images(self, network: Classifier) -> tuple[str, Split]:
        """What is scored: a name, and the images with the numbers of the network's classes."""
        target = self.settings.target
        if self.folder is not None:
            source = self._folder(network)
            return source.name, network.split(_all_of(source, target.resolution), source.labels)
        try:
            if target.valid is not None:
                source = open_source(target.valid, target.resolution)
                images, labels, names = _all_of(source, target.resolution), source.labels, source.class_names
            else:
                task = open_target(target)
                images, labels, names = task.valid.images, task.valid.labels, task.class_names
            return "validation", network.split(images, _numbers(names, network.class_names)[labels])
        except InputError as error:
            raise InputError(
                f"{error}; if the images of the training moved, say where they are (--target.train.path, "
                "--target.valid.path), or score others (--folder)"
            ) from None

    def _folder(self, network: Classifier) -> Source:
        # Corrupt images are named and left out, however many: no training suffers from them.
        folder = required("folder", self.folder, "a folder of images per class")
        try:
            return open_image_folder(folder, cache=False, max_corrupt=1.0, class_names=network.class_names)
        except InputError as error:
            raise InputError(f"--folder: {error}") from None


def _all_of(source: Source, resolution: int) -> torch.Tensor | OnDemand:
    return images_of(source, torch.arange(len(source.labels), device="cpu"), resolution)


def _numbers(theirs: tuple[str, ...], ours: tuple[str, ...]) -> torch.Tensor:
    """The network's number of each class of the data, by name."""
    unknown = [one for one in theirs if one not in ours]
    if unknown:
        raise InputError(
            f"the images have a class {unknown[0]!r}, expected some of the network's: {', '.join(ours[:20])}"
        )
    return torch.tensor([ours.index(one) for one in theirs], device="cpu")
