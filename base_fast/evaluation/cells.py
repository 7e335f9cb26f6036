"""The cells of a derived network, and the drop path that regularizes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from base_fast.evaluation import primitives

Pairs = Sequence[tuple[str, int]]


class Cell(nn.Module):
    """The states of a cell's inputs, then its nodes (each the sum of its operations), the concat ones joined.

    `nodes` holds per node its (primitive, predecessor) pairs; predecessor numbers count the inputs. With `reduction`,
    operations on the inputs have stride 2. `preprocess` holds one module per input, applied to the last states given.
    """

    def __init__(
        self,
        nodes: Sequence[Pairs],
        concat: Sequence[int],
        channels: int,
        preprocess: Sequence[nn.Module],
        reduction: bool = False,
    ) -> None:
        super().__init__()
        self.inputs = len(preprocess)
        for i, module in enumerate(preprocess):
            self.add_module(f"preprocess{i}", module)
        self.primitives = [primitive for pairs in nodes for primitive, _ in pairs]
        self.predecessors = [[predecessor for _, predecessor in pairs] for pairs in nodes]
        self.concat = tuple(concat)
        self.channels_out = channels * len(self.concat)
        self._ops = nn.ModuleList(
            primitives.build(primitive, channels, 2 if reduction and predecessor < self.inputs else 1)
            for pairs in nodes
            for primitive, predecessor in pairs
        )

    def forward(self, previous: Tensor, current: Tensor, drop_probability: float = 0.0) -> Tensor:
        """States of the two cells before, (B, C, H, W) each → (B, channels × concat, H', W')."""
        inputs = (previous, current)[-self.inputs :]
        states = [self.get_submodule(f"preprocess{i}")(state) for i, state in enumerate(inputs)]
        ops = iter(self._ops)
        for predecessors in self.predecessors:
            terms = []
            for i in predecessors:
                op = next(ops)
                terms.append(drop_path(op, op(states[i]), drop_probability))
            states.append(sum(terms[1:], start=terms[0]))
        return torch.cat([states[i] for i in self.concat], dim=1)


class ResidualBlock(nn.Module):
    """The stride-2 basic block between the stages of NAS-Bench-201: two 3×3 ReLU-conv-BN, plus average pool and 1×1.

    It stands in the place of a cell and reads the last state only.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv_a = primitives.ReLUConvBN(channels_in, channels_out, 3, stride=2)
        self.conv_b = primitives.ReLUConvBN(channels_out, channels_out, 3)
        # ceil_mode only matters for odd sizes, where it keeps the shortcut as large as the convolutions' output.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(channels_in, channels_out, 1, bias=False)
        )

    def forward(self, previous: Tensor, current: Tensor, drop_probability: float = 0.0) -> Tensor:
        """(B, channels_in, H, W) → (B, channels_out, ceil(H / 2), ceil(W / 2))."""
        out: Tensor = self.shortcut(current) + self.conv_b(self.conv_a(current))
        return out


def drop_path(op: nn.Module, out: Tensor, probability: float) -> Tensor:
    """Zero the output (B, C, H, W) of an operation for whole samples and rescale the rest (Larsson et al. 2017).

    In training only, and never for an identity: a sample always keeps some path (as DARTS does).
    """
    if not op.training or probability == 0.0 or isinstance(op, primitives.Skip):
        return out
    keep = 1.0 - probability
    # Not bernoulli_, for which torch.compile compiles anew with every probability of a schedule.
    kept = torch.rand(out.shape[0], 1, 1, 1, device=out.device) < keep
    return out * (kept.to(out.dtype) / keep)
