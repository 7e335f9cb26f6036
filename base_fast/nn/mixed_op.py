"""A drop-in edge for supernets of your own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from base_fast import ops
from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.ops.memory import MEMORY
from base_fast.reference.primitives import vector_values, weight_shapes
from base_fast.space import DARTS
from base_fast.space.primitives import PRIMITIVES, check


class MixedOp(nn.Module):
    """Σ_l z_l·φ_l(x) over an edge's primitives, with weights of its own.

    The parameters have the names of the published DARTS module (`_ops.4.op.1.weight`), so state dicts move both ways;
    batch norms have neither parameters nor buffers, in `eval()` too they use the statistics of the batch, and running
    statistics in a state dict are passed over.

    Args:
        channels: C ≥ 1.
        stride: 1 or 2.
        primitives: names of `space.PRIMITIVES`, in any number and order.
        memory: what is kept for backward: "store", "store_bf16" or "recompute", see `ops.mixed_op`.

    Raises:
        InputError: for an unknown primitive, stride, memory level or channel count.
    """

    def __init__(
        self,
        channels: int,
        stride: int = 1,
        primitives: Sequence[str] = DARTS.primitives,
        memory: str = "store",
    ) -> None:
        super().__init__()
        channels, stride = integer("channels", channels, 1), integer("stride", stride, 1, 2)
        if not primitives:
            raise InputError(f"primitives: got {list(primitives)}, expected at least one of {', '.join(PRIMITIVES)}")
        check(primitives)
        if memory not in MEMORY:
            raise InputError(f"memory: got {memory!r}, expected one of {', '.join(MEMORY)}")
        self.channels, self.stride, self.primitives, self.memory = channels, stride, tuple(primitives), memory
        self._places: list[tuple[list[str], str]] = []
        for l, primitive in enumerate(self.primitives):
            for name, shape in weight_shapes(primitive, channels, stride).items():
                self._register(f"_ops.{l}.{name}", nn.Parameter(torch.empty(shape)))
        self.reset_parameters()

    def _register(self, path: str, weight: nn.Parameter) -> None:
        """Nest plain modules so that the parameter's state-dict key is `path`."""
        *parents, leaf = path.split(".")
        module: nn.Module = self
        for name in parents:
            if name not in module._modules:
                module.add_module(name, nn.Module())
            module = module.get_submodule(name)
        module.register_parameter(leaf, weight)
        self._places.append((parents, leaf))

    def reset_parameters(self) -> None:
        """PyTorch's own initialization of convolutions; vectors of a module of one's own begin as it makes them."""
        vectors = {
            f"_ops.{l}.{name}": value
            for l, primitive in enumerate(self.primitives)
            for name, value in vector_values(primitive, self.channels, self.stride).items()
        }
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                with torch.no_grad():
                    weight.copy_(vectors[name])
            elif weight.numel():  # a factorized reduction of one channel has an empty half
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The dictionary is load_state_dict's own.
        running = ("running_mean", "running_var", "num_batches_tracked")
        for key in [k for k in state_dict if k.startswith(prefix) and k.rpartition(".")[2] in running]:
            del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor, weights: Tensor, *, chosen: int | None = None) -> Tensor:
        """x (B, C, H, W), weights (L,) → (B, C, ⌈H/stride⌉, ⌈W/stride⌉); `chosen` executes one primitive alone."""
        return ops.mixed_op(x, weights, self._weights(), self.primitives, self.stride, chosen, self.memory)

    def _weights(self) -> list[Tensor]:
        # Not `parameters`: it walks through all modules at every call, and misses the plain attributes of the replicas
        # that nn.DataParallel makes, and the second place of a shared weight.
        found = []
        for parents, leaf in self._places:
            module: nn.Module = self
            for name in parents:
                module = module._modules[name]  # type: ignore[assignment]
            found.append(getattr(module, leaf))
        return found

    def extra_repr(self) -> str:
        return f"{self.channels}, stride={self.stride}, primitives={list(self.primitives)}, memory={self.memory!r}"
