"""What wraps a network: compilation, nn.DataParallel, DistributedDataParallel."""

from __future__ import annotations

from torch import nn
from torch.distributed import get_world_size
from torch.nn.parallel import DataParallel, DistributedDataParallel

from base_fast.errors import InputError


def unwrapped(network: nn.Module) -> nn.Module:
    """The network itself, whose parameters have the names that it gave them."""
    while True:
        # Of what torch.compile returns: its class lives in a package that takes long to import.
        inner = network.module if isinstance(network, DataParallel | DistributedDataParallel) else None
        inner = network._modules.get("_orig_mod", inner)
        if not isinstance(inner, nn.Module):
            return network
        network = inner


def check_one_process(network: nn.Module) -> None:
    """Raises InputError for a network that several processes train together."""
    for module in network.modules():
        if isinstance(module, DistributedDataParallel) and (size := get_world_size(module.process_group)) > 1:
            raise InputError(
                f"network: got DistributedDataParallel over {size} processes, expected one process: each would see "
                "the same images (nn.DataParallel shares a batch among the GPUs of a process)"
            )
