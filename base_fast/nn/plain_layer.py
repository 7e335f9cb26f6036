"""Whether a layer computes what its class in `torch.nn` does of its weight and bias; else a Bayesian twin would not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from base_fast.errors import InputError
from base_fast.ops.checks import DTYPES
from base_fast.reference.convolution import Conv2d

# What decides what a layer computes.
_METHODS = ("forward", "_conv_forward", "_output_padding", "__call__", "_call_impl", "__getattr__")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def check_plain(layer: nn.Module, kind: type[Any], name: str = "layer") -> Tensor:
    """The weight of a layer of this kind.

    Raises:
        InputError: for another layer, and for one that computes something else, or of something else: a subclass with
            a forward pass of its own, hooks, parametrizations (weight norm, pruning), more tensors than the two,
            quantization, weights without a shape.
    """
    got = type(layer).__name__
    if parametrize.is_parametrized(layer):
        raise InputError(f"{name}: got {got}, whose weights are parametrized; remove the parametrizations first")
    if not isinstance(layer, kind):
        raise InputError(f"{name}: got {got}, expected {kind.__name__}")
    if hooked := [hooks for hooks in _HOOKS if getattr(layer, hooks)]:
        raise InputError(f"{name}: got {got} with hooks ({hooked[0].strip('_')}), expected none: they would be lost")
    own = [m for m in _METHODS if getattr(type(layer), m, None) is not getattr(kind, m, None)]
    own += [m for m in _METHODS if m in vars(layer)]
    if own and type(layer) is not Conv2d:  # that one computes the same
        raise InputError(f"{name}: got {got} with a {own[0]} of its own, expected {kind.__name__} itself")
    if any(is_lazy(p) for p in layer._parameters.values()):
        raise InputError(f"{name}: got {got}, whose weight has no shape yet; run it once first")
    tensors = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    if others := set(tensors) - {"weight", "bias"}:
        raise InputError(f"{name}: got {got} with {', '.join(sorted(others))}, expected a weight and a bias alone")
    weight = layer._parameters.get("weight")
    bias = getattr(layer, "bias", None)
    if weight is None or layer._parameters.get("bias") is not bias:
        raise InputError(f"{name}: got {got}, whose weights are no parameters of its own")
    if weight.dtype not in DTYPES or type(weight) not in (nn.Parameter, torch.nn.Buffer, Tensor):
        dtype = str(weight.dtype).removeprefix("torch.")
        raise InputError(
            f"{name}: got {got} of {type(weight).__name__} of {dtype}, expected float32, float64, bfloat16"
        )
    return weight
