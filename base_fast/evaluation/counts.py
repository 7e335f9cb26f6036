"""Parameters, multiply-adds and latency of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.benchmark import Timer

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.evaluation.multiply_adds import IMAGES, count
from base_fast.evaluation.wrappers import unwrapped


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
    products: int = 0
    """Of activations with each other, as in attention."""
    modules: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Multiply-adds with weights by the name of the innermost module that asked for them."""
    unknown: tuple[str, ...] = field(default=(), compare=False)
    """Operations that are not PyTorch's own: what they multiply is counted nowhere."""

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
    """All learnable numbers, batch norm included; `auxiliary` off leaves out names that contain "auxiliary".

    Of a Bayesian layer that is two for each weight, its mean and its ρ.
    """
    return sum(p.numel() for name, p in module.named_parameters() if auxiliary or "auxiliary" not in name)


def count_macs(module: nn.Module, input_shape: Sequence[int]) -> MacCount:
    """Multiply-adds of one image of `input_shape` (C, H, W), counted while a copy runs on the meta device.

    Nothing is computed, so it takes milliseconds at any size, and `module` itself stays as it is. Counted are PyTorch's
    operations, whoever asks for them: layers of any dimension, transposed ones, functions with parameters, fused
    edges, Bayesian layers (once, with their means). A convolution counts output elements × kernel places × input
    channels per group, a transposed one its input's; biases are not counted. Products of activations with each other
    are `products`, and operations of other libraries are named in `unknown`: neither is a part of the other numbers.

    Raises:
        InputError: for a shape that is not three positive integers, or a module that does not run without values.
    """
    counter = count(unwrapped(module), _image_shape(input_shape))
    counts = {kind: amount // IMAGES for kind, amount in counter.counts.items()}
    return MacCount(**counts, modules=counter.modules, unknown=tuple(counter.unknown))


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


def _image_shape(shape: Sequence[int]) -> tuple[int, ...]:
    if len(shape) != 3:
        raise InputError(f"input_shape: got {tuple(shape)}, expected (C, H, W) of one image")
    return tuple(integer("input_shape", n, 1) for n in shape)


def _dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters()), torch.get_default_dtype())
