"""Objectives that build the network of a genotype: what it scores after training, its size, and its latency here."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.engine import current
from base_fast.errors import Interrupted
from base_fast.evaluation import (
    Network,
    NetworkConfig,
    TrainConfig,
    count_macs,
    count_parameters,
    measure_latency,
    train,
)
from base_fast.objectives.objective import Measurements, Objective, Quantity, measured_apart
from base_fast.random import fold_in
from base_fast.space import Genotype, Space, decode
from base_fast.tasks import Task

_SEEDS = 2**31


class Trained(Objective):
    """Validation accuracy and loss of a genotype's network after a training of its own.

    The seed of the training comes from the key, so that its noise is part of the measurement.

    Args:
        space: with cells.
        task: what to learn, and where to measure.
        network: size and skeleton.
        config: the budget and the recipe; its seed is replaced.
    """

    quantities = (Quantity("accuracy", "larger", "%"), Quantity("loss", "smaller", "nats"))
    costs = ("training steps",)

    def __init__(self, space: Space, task: Task, network: NetworkConfig, config: TrainConfig) -> None:
        self.space: Space = space
        self.task, self.network, self.config = task, network, config

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        def trained(i: int) -> tuple[list[float], list[float]]:
            seed = int(fold_in(key, i)[0]) % _SEEDS
            network = build(choices[i], self.space, self.network, self.task.num_classes, seed)
            try:
                result = train(network, self.task, replace(self.config, seed=seed))
            except Interrupted:
                # Whoever measures has a checkpoint; this training begins again.
                raise Interrupted("stopped while a genotype was trained") from None
            return [100.0 * result.accuracy, result.loss], [float(result.steps)]

        return measured_apart(trained, len(choices))


class Size(Objective):
    """Parameters, and multiply-adds of convolutions and linear layers for one image, of a genotype's network."""

    quantities = (Quantity("parameters", "smaller", ""), Quantity("macs", "smaller", ""))
    costs = ()

    def __init__(self, space: Space, network: NetworkConfig, num_classes: int, resolution: int) -> None:
        self.space: Space = space
        self.network, self.num_classes, self.resolution = network, num_classes, resolution

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        values = []
        for z in choices:
            network = build(z, self.space, self.network, self.num_classes, 0)
            macs = count_macs(network, (3, self.resolution, self.resolution))
            values.append([float(count_parameters(network, auxiliary=False)), float(macs.conv_linear)])
        return Measurements(
            torch.tensor(values, dtype=torch.float64, device="cpu"),
            torch.empty(len(choices), 0, dtype=torch.float64, device="cpu"),
        )


class Latency(Objective):
    """Median latency of one image on the device of the network, measured here and now: it varies from run to run.

    Measured latencies of other machines come as a `Table` in which smaller is better.
    """

    quantities = (Quantity("latency", "smaller", "ms"),)
    costs = ("forward passes",)

    def __init__(
        self, space: Space, network: NetworkConfig, num_classes: int, resolution: int, repeats: int = 50
    ) -> None:
        repeats = integer("repeats", repeats, 1)
        self.space: Space = space
        self.network, self.num_classes, self.resolution, self.repeats = network, num_classes, resolution, repeats

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        def measured() -> list[list[float]]:
            networks = (build(z, self.space, self.network, self.num_classes, 0) for z in choices)
            image = (3, self.resolution, self.resolution)
            return [[1e3 * measure_latency(network, image, repeats=self.repeats).median] for network in networks]

        values = current().first(measured)  # which no two processes would measure alike
        costs = torch.full((len(choices), 1), float(self.repeats), dtype=torch.float64, device="cpu")
        return Measurements(torch.tensor(values, dtype=torch.float64, device="cpu"), costs)


def build(choices: Tensor, space: Space, config: NetworkConfig, num_classes: int, seed: int) -> Network:
    """The network of choices (T, E)."""
    genotype = decode(choices.numpy(), space)
    assert isinstance(genotype, Genotype), "a space with cells has genotypes with cells"
    return config.build(genotype, num_classes, seed)
