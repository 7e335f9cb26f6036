"""What wraps a network: compilation, nn.DataParallel, DistributedDataParallel."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel


def unwrapped(network: nn.Module) -> nn.Module:
    """The network itself, whose parameters have the names that it gave them."""
    while True:
        # Of what torch.compile returns: its class lives in a package that takes long to import.
        inner = network.module if isinstance(network, DataParallel | DistributedDataParallel) else None
        inner = network._modules.get("_orig_mod", inner)
        if not isinstance(inner, nn.Module):
            return network
        network = inner
