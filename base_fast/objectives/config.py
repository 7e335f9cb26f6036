"""Objectives as configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from base_fast.arguments import whole_numbers
from base_fast.device import resolve
from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig, TrainConfig
from base_fast.evaluation.latency_parts import Lookup
from base_fast.objectives.belief import Belief, open_belief
from base_fast.objectives.evidence import Evidence, Part
from base_fast.objectives.latency_lookup import LatencyLookup
from base_fast.objectives.networks import Latency, Size, Trained
from base_fast.objectives.objective import Objective, Quantity, Together
from base_fast.objectives.own_steps import OwnSteps, OwnStepsConfig
from base_fast.objectives.reward import RewardConfig, Rewarded
from base_fast.objectives.shared_weights import SharedWeights
from base_fast.objectives.table import Table
from base_fast.objectives.training_free import TrainingFree, TrainingFreeConfig
from base_fast.posterior import Posterior
from base_fast.runs import changeable
from base_fast.space import AnySpace, Space
from base_fast.supernet import Supernet
from base_fast.tasks import Task


@dataclass(frozen=True)
class TableConfig:
    """Columns of a benchmark's file."""

    path: Path = changeable(Path("accuracy.csv"))
    """.csv or .json, or either with .gz."""
    columns: tuple[str, ...] = ("accuracy",)
    """Columns to measure, which lend the quantities their names."""
    better: Literal["larger", "smaller"] = "larger"
    """Which way is better, in all of them."""
    unit: str = "%"
    """Their unit."""
    genotypes: str = "arch"
    """Column of the genotypes; what JSON's keys count as."""

    def open(self, space: AnySpace) -> Table:
        """Read the file.

        Raises:
            InputError: see `Table.read`.
        """
        quantities = [Quantity(name, self.better, self.unit) for name in self.columns]
        return Table.read(self.path.expanduser(), space, quantities, self.genotypes)


@dataclass(frozen=True)
class SharedWeightsConfig:
    """A supernet's weights as the judge."""

    posterior: Path | None = changeable(None)
    """posterior.safetensors, whose means are the weights, also those that own_steps start from. A strategy that trains
    the weights itself starts there, or from fresh ones."""
    images: int | None = 1000
    """The largest number of validation images; all if unset."""
    batch_size: int = 256
    """The largest number of images in a batch."""


Measured = Literal[
    "table", "shared_weights", "own_steps", "trained", "training_free", "size", "latency", "latency_lookup", "belief"
]
Kind = Literal[Measured, "evidence"]


@dataclass(frozen=True)
class PartConfig:
    """A part of the evidence."""

    objective: Measured
    """What measures it, with the settings that it has among the objectives."""
    quantity: str
    """Which of its quantities."""
    weight: float = 1.0
    """What a standard deviation of it counts."""
    name: str = ""
    """What its raw values are called; as the quantity, if empty."""


@dataclass(frozen=True)
class EvidenceConfig:
    """Several quantities as one: a weighted sum of their normal scores."""

    parts: tuple[PartConfig, ...] = ()
    """Its parts, which are measured beside it; those of one objective at once."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is measured; of the tables below, those of other kinds are not looked at."""

    kinds: tuple[Kind, ...] = ("table",)
    """table: look it up. shared_weights: a supernet's weights on validation images. own_steps: the same after a few
    steps of the genotype's own. trained: a network trained for a budget. training_free: scores of an untrained network.
    size: parameters and multiply-adds. latency: of one image, on this machine; latency_lookup: the
    sum of its parts', from a file. belief: log-probability under a saved
    distribution. evidence: a weighted sum of others, comparable among genotypes measured at once."""
    tables: tuple[TableConfig, ...] = (TableConfig(),)
    shared_weights: SharedWeightsConfig = SharedWeightsConfig()
    own_steps: OwnStepsConfig = OwnStepsConfig()
    network: NetworkConfig = NetworkConfig()
    """The network of a genotype (trained, training_free, size, latency)."""
    train: TrainConfig = TrainConfig(epochs=1)
    """Its training (trained)."""
    training_free: TrainingFreeConfig = TrainingFreeConfig()
    latency_repeats: int = 50
    """Forward passes of which the median is taken (latency)."""
    lookup: Path | None = changeable(None)
    """lookup.json of `base-fast latency` (latency_lookup)."""
    belief: Path | None = changeable(None)
    """posterior.safetensors or distribution.safetensors (belief)."""
    evidence: EvidenceConfig = EvidenceConfig()
    reward: RewardConfig | None = None
    """Several of the quantities as one, `reward`, which comes first."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise InputError(f"kinds: got {list(self.kinds)}, expected different ones of {', '.join(get_args(Kind))}")
        if "evidence" in self.kinds and not self.evidence.parts:
            raise InputError("evidence.parts: got none, expected at least one for kind 'evidence'")
        if "table" in self.measured and not self.tables:
            raise InputError("tables: got none, expected at least one for kind 'table'")

    @property
    def measured(self) -> set[Kind]:
        """Kinds that measure something themselves, whether named in `kinds` or by a part of the evidence."""
        parts = self.evidence.parts if "evidence" in self.kinds else ()
        return {*self.kinds, *(part.objective for part in parts)} - {"evidence"}

    @property
    def needs_task(self) -> bool:
        """Whether images are needed."""
        return bool(self.measured - {"table", "belief"})


def open_objective(config: ObjectiveConfig, space: AnySpace, task: Task | None = None) -> Objective:
    """Open what `config` describes.

    Args:
        space: whose genotypes are measured.
        task: the images, which all kinds but table and belief need.

    Raises:
        InputError: a file is missing or holds something else, a kind doesn't fit the space, or a part of the evidence
            is no quantity of its objective; see also `Rewarded`.
    """
    measured = Together([one for kind in config.kinds for one in _open(kind, config, space, task)])
    return measured if config.reward is None else Rewarded(measured, config.reward)


def _open(kind: Kind, config: ObjectiveConfig, space: AnySpace, task: Task | None) -> list[Objective]:
    if kind == "table":
        return [table.open(space) for table in config.tables]
    if kind == "belief":
        return [Belief(open_belief(config.belief, space, "belief"))]
    if kind == "evidence":
        return [_open_evidence(config, space, task)]
    if not isinstance(space, Space):
        raise InputError(f"kinds: got {kind!r} for space {space.name!r}, expected 'table': it has no cells to build")
    if task is None:
        raise InputError(f"task: got none, expected images for kind {kind!r}")
    if kind == "shared_weights":
        supernet, theta = _open_weights(config.shared_weights, config.network.device, space, task)
        shared = config.shared_weights
        return [SharedWeights(supernet, theta, task.valid, shared.images, shared.batch_size)]
    if kind == "own_steps":
        supernet, theta = _open_weights(config.shared_weights, config.network.device, space, task)
        return [OwnSteps(supernet, theta, task, config.own_steps)]
    if kind == "trained":
        return [Trained(space, task, config.network, config.train)]
    if kind == "training_free":
        return [TrainingFree(space, task, config.network, config.training_free)]
    if kind == "size":
        return [Size(space, config.network, task.num_classes, task.resolution)]
    if kind == "latency_lookup":
        if config.lookup is None:
            raise InputError("lookup: not given, expected the lookup.json of `base-fast latency`")
        lookup = Lookup.load(config.lookup.expanduser())
        return [LatencyLookup(space, lookup, config.network, task.num_classes, task.resolution)]
    return [Latency(space, config.network, task.num_classes, task.resolution, config.latency_repeats)]


def _open_weights(config: SharedWeightsConfig, device: str, space: Space, task: Task) -> tuple[Supernet, Tensor]:
    """The supernet of a saved posterior, and its means (P,)."""
    if config.posterior is None:
        raise InputError("shared_weights.posterior: not given, expected a posterior.safetensors with trained weights")
    posterior = Posterior.load(config.posterior.expanduser()).to(resolve(device))
    if posterior.space != space:
        raise InputError(
            f"shared_weights.posterior: got a supernet of space {posterior.space.name!r}, expected {space.name!r}"
        )
    supernet = Supernet.for_posterior(posterior)
    if supernet.config.num_classes != task.num_classes:
        raise InputError(
            f"shared_weights.posterior: got a head of {supernet.config.num_classes} outputs, expected the task's "
            f"{task.num_classes} classes"
        )
    return supernet, posterior.mu


def _open_evidence(config: ObjectiveConfig, space: AnySpace, task: Task | None) -> Evidence:
    parts = config.evidence.parts
    opened = {part.objective: Together(_open(part.objective, config, space, task)) for part in parts}
    return Evidence([Part(opened[part.objective], part.quantity, part.weight, part.name) for part in parts])
