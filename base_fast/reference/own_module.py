"""A module of somebody's own as a pure function of its input and its weights."""

from __future__ import annotations

import copy
import threading
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from base_fast.errors import InputError
from base_fast.reference.convolution import Conv2d
from base_fast.space.own_module import Factory, OwnModule

# PyTorch puts the weights of a call into the module for as long as it takes, so no two threads may share one.
_OF_THREAD = threading.local()
_KEPT = 256


def apply(layer: OwnModule, x: Tensor, weights: list[Tensor]) -> Tensor:
    """x (B, C, H, W) and the weights in the order of `layer.shapes` → (B, C, ⌈H/stride⌉, ⌈W/stride⌉).

    Batch norms take the statistics of the batch, dropout rests.
    """
    module = _of_this_thread(layer, x.shape[1])
    state = dict(zip(layer.shapes(x.shape[1]), weights, strict=True))
    for name, buffer in module.named_buffers():
        state[name] = buffer.to(x.device, x.dtype if buffer.is_floating_point() else buffer.dtype)
    return cast(Tensor, functional_call(module, state, (x,)))


def vectors(layer: OwnModule, channels: int) -> dict[str, Tensor]:
    """Values of the weights that are vectors or numbers (biases, scales) as the factory makes them; the same always."""
    return {
        name: weight.detach()
        for name, weight in _module(layer.factory, layer, channels).named_parameters()
        if weight.dim() < 2
    }


def derived(layer: OwnModule, channels: int) -> nn.Module:
    """The module of a derived network, with weights in its batch norms, none of whose layers changes its input."""
    return _harmless(cast(nn.Module, layer.build(channels, affine=True)))


def _of_this_thread(layer: OwnModule, channels: int) -> nn.Module:
    found: dict[tuple[Factory, OwnModule, int], nn.Module] = _OF_THREAD.__dict__.setdefault("found", {})
    key = layer.factory, layer, channels
    if key not in found:
        if len(found) == _KEPT:
            found.clear()
        found[key] = copy.deepcopy(_module(*key))
    return found[key]


@lru_cache(maxsize=_KEPT)
def _module(factory: Factory, layer: OwnModule, channels: int) -> nn.Module:
    """The module of a search, tried once.

    Raises:
        InputError: it cannot be made, or does not compute an image of the right shape.
    """
    # `set_default_device` is for tensors of the caller's.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        torch.default_generator.manual_seed(0)
        module = _harmless(cast(nn.Module, layer.build(channels, affine=False))).float().eval()
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._NormBase):
                part.track_running_stats = False
                part.running_mean = part.running_var = part.num_batches_tracked = None
        _try(module, layer, channels)
    return module


def _harmless(module: nn.Module) -> nn.Module:
    """Without layers that work in place, as other primitives read the same input, and with `Conv2d` for PyTorch's."""
    for part in module.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False  # type: ignore[assignment]
        if type(part) is nn.Conv2d and part.kernel_size == (1, 1) and _pads_zeros(part):
            part.__class__ = Conv2d
    return module


def _pads_zeros(layer: nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros" or layer.padding in ((0, 0), "valid")


def _try(module: nn.Module, layer: OwnModule, channels: int) -> None:
    x = torch.zeros(2, channels, 8, 7)
    what = f"{layer.name}: on images {tuple(x.shape)} with stride {layer.stride}"
    expected = (2, channels, -(-8 // layer.stride), -(-7 // layer.stride))
    try:
        y = module(x)
    except Exception as error:
        raise InputError(f"{what} its module fails: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if not isinstance(y, Tensor) or tuple(y.shape) != expected:
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise InputError(f"{what} its module gives {got}; expected {expected}")
    if x.count_nonzero():
        raise InputError(f"{what} its module changes its input; expected new tensors, as other primitives read it too")
