"""A drop-in edge for supernets of your own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from base_fast import ops
from base_fast.errors import InputError
from base_fast.reference.primitives import SUPPORTED, weight_shapes
from base_fast.space import DARTS


class MixedOp(nn.Module):
    """Σ_l z_l·φ_l(x) over an edge's primitives, with weights of its own.

    The parameters have the names of the published DARTS module (`_ops.4.op.1.weight`), so state dicts move both ways;
    batch norms have neither parameters nor buffers.

    Args:
        channels: C ≥ 1.
        stride: 1 or 2.
        primitives: any subset and order of the DARTS and NAS-Bench-201 primitives.

    Raises:
        InputError: for an unknown primitive, stride or channel count.
    """

    def __init__(self, channels: int, stride: int = 1, primitives: Sequence[str] = DARTS.primitives) -> None:
        super().__init__()
        if channels < 1:
            raise InputError(f"channels: got {channels}, expected an integer ≥ 1")
        if stride not in (1, 2):
            raise InputError(f"stride: got {stride}, expected 1 or 2")
        unknown = [p for p in primitives if p not in SUPPORTED]
        if unknown or not primitives:
            raise InputError(f"primitives: got {list(primitives)}, expected at least one of {', '.join(SUPPORTED)}")
        self.channels, self.stride, self.primitives = channels, stride, tuple(primitives)
        for l, primitive in enumerate(self.primitives):
            for name, shape in weight_shapes(primitive, channels, stride).items():
                self._register(f"_ops.{l}.{name}", torch.empty(shape))
        self.reset_parameters()

    def _register(self, path: str, value: Tensor) -> None:
        """Nest plain modules so that the parameter's state-dict key is `path`."""
        *parents, leaf = path.split(".")
        module: nn.Module = self
        for name in parents:
            if name not in module._modules:
                module.add_module(name, nn.Module())
            module = module.get_submodule(name)
        module.register_parameter(leaf, nn.Parameter(value))

    def reset_parameters(self) -> None:
        """PyTorch's own initialization of convolutions."""
        for weight in self.parameters():
            if weight.numel():  # a factorized reduction of one channel has an empty half
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5))

    def forward(self, x: Tensor, weights: Tensor, chosen: int | None = None) -> Tensor:
        """x (B, C, H, W), weights (L,) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉); `chosen` executes one primitive alone."""
        return ops.mixed_op(x, weights, list(self.parameters()), self.primitives, self.stride, chosen)

    def extra_repr(self) -> str:
        return f"{self.channels}, stride={self.stride}, primitives={list(self.primitives)}"
