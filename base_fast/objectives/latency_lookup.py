"""Latency from a table of parts that were measured on a device: no network is run."""

from __future__ import annotations

import torch
from torch import Tensor

from base_fast.evaluation import NetworkConfig
from base_fast.evaluation.latency_parts import Lookup
from base_fast.objectives.networks import build
from base_fast.objectives.objective import Measurements, Objective, Quantity
from base_fast.space import Space


class LatencyLookup(Objective):
    """The sum of the latencies of a network's parts, from a file of `base-fast latency`; exact in repetition.

    Raises:
        InputError: of `measure`, a part that the file lacks.
    """

    quantities = (Quantity("predicted_latency", "smaller", "ms"),)
    costs = ()

    def __init__(self, space: Space, lookup: Lookup, network: NetworkConfig, num_classes: int, resolution: int) -> None:
        self.space: Space = space
        self.lookup, self.network, self.num_classes, self.resolution = lookup, network, num_classes, resolution

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        values = [
            [self.lookup.predict(build(z, self.space, self.network, self.num_classes, 0), self.resolution)]
            for z in choices
        ]
        none = torch.empty(len(choices), 0, dtype=torch.float64, device="cpu")
        return Measurements(torch.tensor(values, dtype=torch.float64, device="cpu"), none)
