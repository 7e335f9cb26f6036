"""Train the network of a genotype on a data set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from base_fast.cli.command import Flat, RunCommand
from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig, TrainConfig, save_network, train, trained
from base_fast.evaluation.classifier import FILE
from base_fast.space import Genotype, genotypes, notation
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
    """A published genotype's name (BASE_CIFAR_TUNED, DARTS_V2, ...); or a genotype in any notation (JSON, a compact or
    NAS-Bench-201 string, Genotype(normal=[...], ...)), or a file or run folder that holds one."""
    Settings: ClassVar = TrainSettings
    settings: Annotated[TrainSettings, Flat] = TrainSettings()

    def execute(self) -> int:
        genotype = read_genotype(self.genotype)
        settings = self.settings
        target = open_target(settings.target)
        network = settings.network.build(genotype, target.num_classes, settings.train.seed)
        with self.open_run("train", settings, target, genotype=genotype.compact()) as run:
            run.write("genotype", genotype)
            result = train(network, target, settings.train, run=run)
            save_network(run.path / FILE, network, settings.network, target)
            record = trained(network, target, result)
            run.write("results", record)
            print(
                f"{run.path}: {record.steps} steps in {record.seconds:.1f} s, "
                f"validation accuracy {100 * record.accuracy:.2f} %, "
                f"{record.parameters:,} parameters, {record.macs:,} MACs"
            )
        return 0


def read_genotype(text: str) -> Genotype:
    """A genotype from a file or run folder, a published name, or any notation that `Genotype.parse` reads."""
    if not text:
        raise InputError("--genotype: not given, expected a genotype.json, a published name or a compact string")
    published = {name.lower(): one for name, one in genotypes.ALL.items()}
    name = text.strip().removeprefix("genotypes.").lower()
    if name in published:
        return published[name]
    path = Path(text).expanduser()
    if _exists(path):
        return _genotype_in(path / "genotype.json" if path.is_dir() else path)
    if re.fullmatch(r"[^\s(){}\[\]|>;]+\.\w{1,5}|[^\s(){}\[\]|>;~]*/[^\s(){}\[\]|>;~]*", text):
        raise InputError(f"--genotype: no file {path}")
    if re.fullmatch(r"[\w.-]+", text):
        return genotypes.get(text)
    return Genotype.parse(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a zero byte: a genotype's text
        return False


def _genotype_in(path: Path) -> Genotype:
    try:
        with path.open("rb") as file:
            text = file.read(notation.LONGEST + 1).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"--genotype: cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"--genotype: {path} is not text, expected a genotype in any notation") from None
    try:
        return Genotype.parse(text)
    except InputError as error:
        raise InputError(f"--genotype: {path}: {error}") from None
