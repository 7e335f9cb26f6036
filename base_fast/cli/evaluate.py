"""Score a trained network on a data set, and count its parameters and multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from base_fast.cli.command import Command, required
from base_fast.cli.train import TrainSettings
from base_fast.errors import InputError
from base_fast.evaluation import count_macs, count_parameters, evaluate, measure_latency
from base_fast.runs import RunFolder, load_tensors
from base_fast.space import Genotype
from base_fast.tasks import open_target


@dataclass(frozen=True)
class Evaluate(Command):
    """Uses the network, the data and the settings of a training run."""

    run: Path | None = None
    """Folder of a finished training."""
    batch_size: int = 256
    """Images at once."""
    latency: bool = False
    """Measure the time of one image, too."""

    def execute(self) -> int:
        run = RunFolder.open(required("run", self.run, "the folder of a finished training"))
        if run.kind != "train":
            raise InputError(f"--run: {run.path} holds a run of kind {run.kind!r}, expected 'train'")
        settings = run.config(TrainSettings)
        path = run.path / "network.safetensors"
        if not path.exists():
            raise InputError(f"--run: {run.path} is not finished; resume with base-fast train --resume")
        tensors, header = load_tensors(path)
        if header.get("kind") != "network":
            raise InputError(f"{path}: got a file of kind {header.get('kind')!r}, expected a network")
        genotype = header["genotype"]
        target = open_target(settings.target)
        network = settings.network.build(Genotype(**genotype), header["num_classes"], settings.train.seed)
        try:
            network.load_state_dict(tensors)
        except RuntimeError:
            raise InputError(f"{path}: it holds the weights of another network than {run.path} describes") from None
        scores = evaluate(network, target.valid, self.batch_size)
        shape = (3, target.resolution, target.resolution)
        macs = count_macs(network, shape)
        print(f"{target.name}: {len(target.valid):,} validation images")
        print(f"accuracy    {scores.accuracy:.4f}   top 5 {scores.top5:.4f}   loss {scores.loss:.4f}")
        print(f"parameters  {count_parameters(network, auxiliary=False):,} without the auxiliary head")
        print(f"MACs        {macs.conv_linear:,} (convolutions and linear layers, one image)")
        if self.latency:
            timing = measure_latency(network, shape)
            print(f"latency     {1e3 * timing.median:.2f} ms ({1e3 * timing.low:.2f} to {1e3 * timing.high:.2f})")
        return 0
