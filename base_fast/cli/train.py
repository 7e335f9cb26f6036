"""Train the network of a genotype on a data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig, TrainConfig, train, trained
from base_fast.runs import save_tensors
from base_fast.space import Genotype, genotypes
from base_fast.tasks import TargetConfig, open_target


@dataclass(frozen=True)
class TrainSettings:
    """The network, the recipe and the data."""

    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    target: TargetConfig = TargetConfig()


@dataclass(frozen=True)
class Train(RunCommand):
    """Leaves the trained weights in RUN/network.safetensors."""

    genotype: str = ""
    """A genotype.json, a published genotype's name (BASE_CIFAR_TUNED, DARTS_V2, ...), or a compact string."""
    Settings: ClassVar = TrainSettings
    settings: Annotated[TrainSettings, Flat] = TrainSettings()

    def execute(self) -> int:
        genotype = read_genotype(self.genotype)
        settings = self.settings
        target = open_target(settings.target)
        network = settings.network.build(genotype, target.num_classes, settings.train.seed)
        with self.open_run("train", settings, genotype=genotype.compact()) as run:
            run.write("genotype", genotype)
            result = train(network, target, settings.train, run=run)
            header = {"kind": "network", "genotype": asdict(genotype), "num_classes": target.num_classes}
            save_tensors(run.path / "network.safetensors", network.state_dict(), header)
            record = trained(network, target, result)
            run.write("results", record)
            print(
                f"{run.path}: {record.steps} steps in {record.seconds:.1f} s, "
                f"validation accuracy {record.accuracy:.4f}, "
                f"{record.parameters:,} parameters, {record.macs:,} MACs"
            )
        return 0


def read_genotype(text: str) -> Genotype:
    """A genotype from a JSON file, a published name, or a compact string."""
    if not text:
        raise InputError("--genotype: not given, expected a genotype.json, a published name or a compact string")
    if text in genotypes.ALL:
        return genotypes.ALL[text]
    if text.endswith(".json"):
        path = Path(text)
        if not path.is_file():
            raise InputError(f"--genotype: no file {path}")
        try:
            return Genotype.from_json(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise InputError(f"--genotype: {path} is not text, expected JSON") from None
    if "~" in text:
        return Genotype.parse(text)
    return genotypes.get(text)
