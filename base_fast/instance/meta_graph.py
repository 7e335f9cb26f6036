"""The meta-graph: a network of MobileNetV2 blocks of which every image takes some and skips the others."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from base_fast.errors import InputError
from base_fast.space import Stack

IDENTITY = "identity"
_BLOCK = re.compile(r"mb(\d+)_k(\d+)")


class InvertedResidual(nn.Sequential):
    """Expansion, depthwise convolution, projection: x (B, C_in, H, W) → (B, C_out, H/stride, W/stride), nothing added.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
    """

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int = 1) -> None:
        wide = inputs * expansion
        super().__init__(
            *(_convolution(inputs, wide, 1) if expansion > 1 else ()),
            *_convolution(wide, wide, kernel, stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )


class MetaGraph(nn.Module):
    """Stages of layers; each layer adds to its input the mean of those of its blocks that an image takes.

    A stage begins with a block that every image takes: it sets the channels and, but in the first stage, halves the
    sides. The layers after it are those of `space`: their `identity` is to take no block. A block runs on the images
    that take it alone, gathered from the batch, in training as later: what is skipped costs nothing, and batch norm
    knows the images that it will see.

    Args:
        space: blocks mb<expansion>_k<kernel> and `identity`; L layers, A blocks besides it.
        channels: of the stages, over which the layers are spread evenly.
        num_classes: logits.

    Raises:
        InputError: another primitive, no `identity`, or more stages than layers.

    Source: Cheng et al., "InstaNAS: Instance-aware Neural Architecture Search", AAAI 2020, which adds the sum.
    """

    def __init__(self, space: Stack, channels: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        blocks = [name for name in space.primitives if name != IDENTITY]
        sizes = [_BLOCK.fullmatch(name) for name in blocks]
        if len(blocks) == len(space.primitives) or not all(sizes):
            raise InputError(
                f"space: got blocks {', '.join(space.primitives)}, expected identity and mb<expansion>_k<kernel>"
            )
        if not 1 <= len(channels) <= space.layers or min(channels) < 1:
            raise InputError(f"channels: got {channels}, expected 1 to {space.layers} stages of at least one channel")
        self.space, self.channels = space, channels
        self.stem = nn.Sequential(*_convolution(3, channels[0], 3))
        self.starts, self.layers = nn.ModuleList(), nn.ModuleList()
        stages = len(channels)
        stage_of = [layer * stages // space.layers for layer in range(space.layers)]
        self.first = [layer for layer in range(space.layers) if layer == 0 or stage_of[layer] > stage_of[layer - 1]]
        before = channels[0]
        for layer in range(space.layers):
            width = channels[stage_of[layer]]
            if layer in self.first:
                self.starts.append(InvertedResidual(before, width, 3, 3, 1 if layer == 0 else 2))
                before = width
            self.layers.append(
                nn.ModuleList(
                    InvertedResidual(width, width, int(size[1]), int(size[2])) for size in sizes if size is not None
                )
            )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))

    @property
    def shape(self) -> tuple[int, int]:
        """(L, A)."""
        return len(self.layers), self.space.num_primitives - 1

    def forward(self, x: Tensor, policies: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 3, R, R), each by its policy of bool (B, L, A), the blocks it takes."""
        if tuple(policies.shape) != (len(x), *self.shape) or policies.dtype != torch.bool:
            raise InputError(
                f"policies: got {policies.dtype} {tuple(policies.shape)}, expected bool {(len(x), *self.shape)}"
            )
        x = self.stem(x)
        for layer in range(len(self.layers)):
            x = self.layer(layer, self.entered(layer, x), policies[:, layer])
        logits: Tensor = self.head(x)
        return logits

    def blocks(self, layer: int) -> list[nn.Module]:
        """The A blocks of a layer."""
        found: nn.ModuleList = self.layers[layer]  # type: ignore[assignment]
        return list(found)

    def entered(self, layer: int, x: Tensor) -> Tensor:
        """What a layer's blocks are given: x after the block that begins the layer's stage, where it is its first."""
        out: Tensor = self.starts[self.first.index(layer)](x) if layer in self.first else x
        return out

    def layer(self, layer: int, x: Tensor, taken: Tensor) -> Tensor:
        """x (B, C, H, W) plus the mean of the blocks that each image takes, (B, A) bool."""
        share = (1.0 / taken.sum(dim=1).clamp(min=1)).to(x).view(-1, 1, 1, 1)
        out = x
        for block, column in zip(self.blocks(layer), taken.unbind(dim=1), strict=True):
            chosen = column.nonzero().squeeze(1)
            if len(chosen) == len(x):  # nothing to gather
                out = out + block(x) * share
            elif len(chosen):
                out = out.index_add(0, chosen, block(x[chosen]) * share[chosen])
        return out


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )
