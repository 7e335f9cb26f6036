"""What a derived network is built with, besides its genotype, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from base_fast.device import resolve
from base_fast.evaluation.network import Network, initialize
from base_fast.random import key
from base_fast.runs import changeable
from base_fast.space import Genotype


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a derived network."""

    skeleton: Literal["cifar", "imagenet", "nas_bench_201"] = "cifar"
    """What stands around the cells: for small images, for 224 pixels, or NAS-Bench-201's."""
    channels: int = 36
    """Channels of the first cell; every reduction doubles them."""
    layers: int = 20
    """Cells in the stack (with NAS-Bench-201's skeleton, blocks: 3N + 2)."""
    auxiliary: bool = False
    """Train with the auxiliary head."""

    device: str = changeable("auto")
    """auto (the GPU if there is one), cpu, cuda or cuda:<number>."""

    def build(self, genotype: Genotype, num_classes: int, seed: int) -> Network:
        """A network with weights drawn from `seed` alone, on `device`."""
        network = Network(genotype, self.channels, self.layers, num_classes, self.skeleton, self.auxiliary)
        initialize(network, key(seed))
        return network.to(resolve(self.device))
