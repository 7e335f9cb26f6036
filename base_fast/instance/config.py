"""InstaNAS as configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from base_fast.arguments import integer, whole_numbers
from base_fast.errors import InputError
from base_fast.instance.controller import Controller
from base_fast.instance.meta_graph import IDENTITY, MetaGraph
from base_fast.random import fold_in, generator, key
from base_fast.runs import changeable
from base_fast.space import Stack


@dataclass(frozen=True)
class MetaGraphConfig:
    """The blocks that an image can take, and the network around them."""

    blocks: tuple[str, ...] = ("mb3_k3", "mb6_k5")
    """Blocks of every layer, mb<expansion>_k<kernel>; with eight layers the default is NAS-Bench-Macro's."""
    layers: int = 8
    """Layers, each of which an image may pass without a block."""
    channels: tuple[int, ...] = (16, 32, 64)
    """Channels of the stages over which the layers are spread; every stage but the first halves the sides."""
    controller: tuple[int, ...] = (8, 16, 16)
    """Channels of the controller's stages."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        integer("layers", self.layers, 1, 1000)

    @property
    def space(self) -> Stack:
        """Layers and blocks."""
        return Stack("instance", (IDENTITY, *self.blocks), self.layers)

    def build(self, num_classes: int, seed: int) -> tuple[MetaGraph, Controller]:
        """Both networks, with weights drawn from `seed` alone."""
        import torch

        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(generator(fold_in(key(seed), 7)).initial_seed())
            graph = MetaGraph(self.space, self.channels, num_classes)
            return graph, Controller(graph.shape, self.controller)


@dataclass(frozen=True)
class Phase:
    """Steps of stochastic gradient descent of the meta-graph, from `lr` along a cosine to 0."""

    steps: int
    """Steps; 0 leaves the phase out."""
    lr: float
    """Learning rate at its start."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if self.steps < 0:
            raise InputError(f"steps: got {self.steps}, expected an integer ≥ 0")
        if not 0.0 < self.lr < math.inf:
            raise InputError(f"lr: got {self.lr!r}, expected a finite number > 0")

    def lr_at(self, step: int) -> float:
        """Learning rate of step 0 ≤ `step` < `steps`."""
        return self.lr * (1.0 + math.cos(math.pi * step / self.steps)) / 2.0


@dataclass(frozen=True)
class InstanceConfig:
    """Pretraining on random policies, the search of the controller, finetuning on its choices.

    Source: Cheng et al., "InstaNAS: Instance-aware Neural Architecture Search", AAAI 2020, and its code, in which every
    phase takes hundreds of passes.
    """

    graph: MetaGraphConfig = MetaGraphConfig()
    pretrain: Phase = Phase(4000, 0.05)
    """Of the meta-graph: in the first half all blocks, then each with a probability that falls from 1 to 1/2."""
    search: Phase = Phase(2000, 0.01)
    """Of controller and meta-graph in turns, the latter on policies that are shuffled among the images."""
    finetune: Phase = Phase(2000, 0.01)
    """Of the meta-graph on the controller's choices."""
    batch_size: int = 64
    """Images a step."""
    momentum: float = 0.9
    """Heavy-ball momentum of the meta-graph."""
    weight_decay: float = 4e-5
    """L2 penalty on the meta-graph's weights."""
    clip: float = 5.0
    """Largest norm of a gradient; 0 does not clip."""
    controller_lr: float = 1e-3
    """Learning rate of the controller, by Adam."""
    certainty: float = 0.8
    """α: policies are drawn from α·p + (1 − α)(1 − p)."""
    entropy: float = 0.8
    """β: weight of the entropy of the controller's choices."""
    reward: tuple[float, float] = (30.0, 0.0)
    """Largest reward of an image that is classified right, and that of one that is not."""
    window: tuple[float, float] = (0.7, 0.5)
    """Upper end of the rewarded costs, as shares of the cost of all blocks, at the start and the end of the search; the
    lower end is the cost of none."""
    cost: Literal["latency", "macs"] = "latency"
    """latency: timed on this machine when the run begins. macs: multiply-adds, the same everywhere."""
    augment: bool = True
    """Crop and mirror the training images."""
    checkpoint_every: int = changeable(100)
    """Steps between checkpoints in the run folder."""
    log_every: int = changeable(10)
    """Steps between rows of the loss."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("checkpoint_every", "log_every"):
            integer(name, getattr(self, name), 1)
        integer("batch_size", self.batch_size, 2)
        for name in ("momentum", "certainty"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a share from 0 to 1")
        for name in ("weight_decay", "clip", "controller_lr", "entropy"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a finite number ≥ 0")
        if not all(0.0 < end < math.inf for end in self.window):
            raise InputError(f"window: got {self.window}, expected two shares > 0")

    @property
    def total(self) -> int:
        """Steps of all phases."""
        return self.pretrain.steps + self.search.steps + self.finetune.steps
