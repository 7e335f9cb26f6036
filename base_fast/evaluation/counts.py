"""Parameters, multiply-adds and latency of a network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.evaluation.skeletons import MapAvgPool


@dataclass(frozen=True)
class MacCount:
    """Multiply-adds for one image in evaluation mode, the auxiliary head not run, and what other conventions add.

    `conv_linear` is the figure that DARTS-like papers mean. The other properties reproduce the tools behind published
    tables, which differ by up to five per cent. Element counts are of outputs; windows are output elements times the
    places of the pool. Global adaptive pools are left out, as those tools do.
    """

    conv: int = 0
    linear: int = 0
    bn_elements: int = 0
    relu_elements: int = 0
    max_pool_window: int = 0
    avg_pool_window: int = 0
    avg_pool_elements: int = 0
    modules: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Multiply-adds of every convolution and linear layer by its name in the network."""

    @property
    def conv_linear(self) -> int:
        """Convolutions and linear layers."""
        return self.conv + self.linear

    @property
    def conv_linear_plus_bn1(self) -> int:
        """With one operation per batch-norm output."""
        return self.conv_linear + self.bn_elements

    @property
    def conv_linear_plus_bn2(self) -> int:
        """With two operations per batch-norm output."""
        return self.conv_linear + 2 * self.bn_elements

    @property
    def thop_old_like(self) -> int:
        """As early versions of thop: two per batch-norm, one per ReLU output, the window of pools (+1 if average)."""
        return (
            self.conv_linear_plus_bn2
            + self.relu_elements
            + self.max_pool_window
            + self.avg_pool_window
            + self.avg_pool_elements
        )

    @property
    def ptflops_like(self) -> int:
        """As ptflops: two per batch-norm output, one per ReLU and pool output.

        Pool outputs are windows / 9: exact for 3×3 pools, while the 7×7 pool of the ImageNet network weighs 49/9 per
        channel, as in the published figures.
        """
        return self.conv_linear_plus_bn2 + self.relu_elements + (self.max_pool_window + self.avg_pool_window) // 9


@dataclass(frozen=True)
class Timing:
    """Seconds for one forward pass: median, 10 % and 90 % quantiles, and the fastest of `repeats` passes."""

    median: float
    low: float
    high: float
    fastest: float
    repeats: int


def count_parameters(module: nn.Module, auxiliary: bool = True) -> int:
    """All learnable numbers, batch norm included; `auxiliary` off leaves out names that contain "auxiliary"."""
    return sum(p.numel() for name, p in module.named_parameters() if auxiliary or "auxiliary" not in name)


def count_macs(module: nn.Module, input_shape: Sequence[int]) -> MacCount:
    """Multiply-adds of one image of `input_shape` (C, H, W), counted by hooks while a copy runs on the meta device.

    Nothing is computed, so it takes milliseconds at any size, and `module` itself stays as it is. A convolution counts
    output elements × kernel places × input channels per group; biases are not counted.

    Raises:
        InputError: for a shape that is not three positive integers.
    """
    shape = _image_shape(input_shape)
    meta = copy.deepcopy(module).to("meta").eval()
    counts = {name: 0 for name in MacCount.__dataclass_fields__ if name != "modules"}
    modules: dict[str, int] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def count(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            for kind, amount in _amounts(layer, inputs[0], out).items():
                counts[kind] += amount
                if kind in ("conv", "linear"):
                    modules[name] = modules.get(name, 0) + amount

        return count

    for name, layer in meta.named_modules():
        layer.register_forward_hook(hook(name))
    with torch.no_grad():
        meta(torch.empty(1, *shape, device="meta", dtype=_dtype(module)))
    return MacCount(**counts, modules=modules)


def measure_latency(module: nn.Module, input_shape: Sequence[int], batch_size: int = 1, repeats: int = 50) -> Timing:
    """Time forward passes of `batch_size` images (C, H, W) in evaluation mode, on the device that holds the module.

    Every timed pass follows two that are not, as `torch.utils.benchmark` has it; on a GPU each is waited for. The
    number of threads is torch's own. The mode is restored.

    Raises:
        InputError: for a bad shape, or counts below 1.
    """
    batch_size, repeats = integer("batch_size", batch_size, 1), integer("repeats", repeats, 1)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    x = torch.zeros(batch_size, *_image_shape(input_shape), device=device, dtype=_dtype(module))
    timer = Timer("module(x)", globals={"module": module, "x": x}, num_threads=torch.get_num_threads())
    training = module.training
    module.eval()
    with torch.inference_mode():
        timed = torch.tensor([timer.timeit(1).median for _ in range(repeats)], dtype=torch.float64, device="cpu")
    module.train(training)
    low, median, high = timed.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64, device="cpu")).tolist()
    return Timing(median, low, high, timed.min().item(), repeats)


def _amounts(layer: nn.Module, x: Tensor, out: Tensor) -> dict[str, int]:
    if isinstance(layer, nn.Conv2d):
        return {"conv": out.numel() * math.prod(layer.weight.shape[1:])}
    if isinstance(layer, nn.Linear):
        return {"linear": out.numel() * layer.in_features}
    if isinstance(layer, nn.BatchNorm2d):
        return {"bn_elements": out.numel()}
    if isinstance(layer, nn.ReLU):
        return {"relu_elements": out.numel()}
    if isinstance(layer, nn.MaxPool2d):
        return {"max_pool_window": out.numel() * _places(layer.kernel_size)}
    if isinstance(layer, nn.AvgPool2d):
        places = math.prod(x.shape[-2:]) if isinstance(layer, MapAvgPool) else _places(layer.kernel_size)
        return {"avg_pool_window": out.numel() * places, "avg_pool_elements": out.numel()}
    return {}


def _places(kernel_size: int | tuple[int, ...]) -> int:
    return kernel_size**2 if isinstance(kernel_size, int) else math.prod(kernel_size)


def _image_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise InputError(f"input_shape: got {tuple(shape)}, expected (C, H, W) of one image")
    return tuple(integer("input_shape", n, 1) for n in shape)


def _dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters()), torch.get_default_dtype())
