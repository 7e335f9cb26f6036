"""What surrounds the cells: stems, where the map is halved, auxiliary heads, pooling.

`cifar` and `imagenet` are those of DARTS (Liu et al. 2019, `NetworkCIFAR` and `NetworkImageNet`), `nas_bench_201` that
of Dong & Yang 2020. Module names follow the DARTS code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.evaluation.cells import Cell, ResidualBlock
from base_fast.evaluation.primitives import FactorizedReduce, ReLUConvBN
from base_fast.space import Genotype


@dataclass(frozen=True)
class Skeleton:
    """The parts of a network before they are joined: `Network.forward` runs stems, cells, head, classifier.

    A cell maps (state before last, last state, drop path probability) to the next state. The first cell sees the
    outputs of the last two stems, or twice the same if there is one.
    """

    stems: dict[str, nn.Module]
    cells: list[nn.Module]
    head: nn.Sequential
    channels: int
    auxiliary: Callable[[int], nn.Module] | None = None
    auxiliary_after: int | None = None


class AuxiliaryHead(nn.Module):
    """The classifier on the state after cell 2·layers//3 that only training uses (DARTS).

    ReLU, average pool 5, 1×1 convolution to 128, 2×2 convolution to 768, linear; `last_norm` keeps the batch norm of
    the 768 channels, which the ImageNet network lacks as published. (B, channels, H, W) → (B, num_classes). The map
    must give the 2×2 convolution its four places; what larger maps give beyond one output is averaged.
    """

    def __init__(self, channels: int, num_classes: int, stride: int, last_norm: bool) -> None:
        super().__init__()
        self.smallest = 5 + stride
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=stride, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *([nn.BatchNorm2d(768)] if last_norm else []),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < self.smallest:
            raise InputError(
                f"auxiliary: got a map of {x.shape[-2]}×{x.shape[-1]} at the auxiliary head, expected at least "
                f"{self.smallest}×{self.smallest}; use larger images or auxiliary=False"
            )
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


class MapAvgPool(nn.AvgPool2d):
    """The average pool 7 of the ImageNet network, as large as the map: for 224×224 images exactly 7×7."""

    def __init__(self) -> None:
        super().__init__(7)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, (x.shape[-2], x.shape[-1]))


def cifar(genotype: Genotype, channels: int, layers: int) -> Skeleton:
    """Stem 3×3 to 3·channels, reductions at layers//3 and 2·layers//3; maps at H, H/2, H/4."""
    _check_darts(genotype, "cifar")
    stem = nn.Sequential(nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels))
    cells, widths = _darts_cells(genotype, channels, layers, 3 * channels, reduced=False)
    return Skeleton(
        stems={"stem": stem},
        cells=cells,
        head=nn.Sequential(nn.AdaptiveAvgPool2d(1)),
        channels=widths[-1],
        auxiliary=lambda classes: AuxiliaryHead(widths[2 * layers // 3], classes, stride=3, last_norm=True),
        auxiliary_after=2 * layers // 3,
    )


def imagenet(genotype: Genotype, channels: int, layers: int) -> Skeleton:
    """Three stride-2 convolutions, then as `cifar`; maps at H/8, H/16, H/32, the first cell's other input at H/4."""
    _check_darts(genotype, "imagenet")
    stem0 = nn.Sequential(
        nn.Conv2d(3, channels // 2, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels // 2),
        nn.ReLU(),
        nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels),
    )
    stem1 = nn.Sequential(
        nn.ReLU(), nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels)
    )
    cells, widths = _darts_cells(genotype, channels, layers, channels, reduced=True)
    return Skeleton(
        stems={"stem0": stem0, "stem1": stem1},
        cells=cells,
        head=nn.Sequential(MapAvgPool()),
        channels=widths[-1],
        auxiliary=lambda classes: AuxiliaryHead(widths[2 * layers // 3], classes, stride=2, last_norm=False),
        auxiliary_after=2 * layers // 3,
    )


def nas_bench_201(genotype: Genotype, channels: int, layers: int) -> Skeleton:
    """Three stages of (layers − 2)/3 cells at C, 2C, 4C with residual blocks of stride 2 between; no auxiliary head."""
    if not genotype.keeps_all_edges:
        raise InputError("genotype: got a DARTS genotype, expected a NAS-Bench-201 one for skeleton 'nas_bench_201'")
    if layers < 5 or layers % 3 != 2:
        raise InputError(f"layers: got {layers}, expected 3 × cells + 2 (5, 8, ..., 17) for skeleton 'nas_bench_201'")
    stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
    edges = genotype.normal
    # Node n (from 1) has one pair for each of its n predecessors.
    nodes = [edges[n * (n - 1) // 2 : n * (n + 1) // 2] for n in range(1, genotype.normal_concat[0] + 1)]
    cells: list[nn.Module] = []
    for stage in range(3):
        width = channels * 2**stage
        if stage > 0:
            cells.append(ResidualBlock(width // 2, width))
        cells += [Cell(nodes, genotype.normal_concat, width, [nn.Identity()]) for _ in range((layers - 2) // 3)]
    head = nn.Sequential(nn.BatchNorm2d(4 * channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return Skeleton(stems={"stem": stem}, cells=cells, head=head, channels=4 * channels)


SKELETONS: dict[str, Callable[[Genotype, int, int], Skeleton]] = {
    "cifar": cifar,
    "imagenet": imagenet,
    "nas_bench_201": nas_bench_201,
}
"""Every skeleton by name: (genotype, channels, layers) → parts."""


def _check_darts(genotype: Genotype, skeleton: str) -> None:
    if genotype.keeps_all_edges:
        raise InputError(f"genotype: got a NAS-Bench-201 genotype, expected one with reduce for skeleton {skeleton!r}")


def _darts_cells(
    genotype: Genotype, channels: int, layers: int, width: int, reduced: bool
) -> tuple[list[nn.Module], list[int]]:
    """The cells and the channels each gives; `width` is that of the stems, `reduced` if the last one halved the map."""
    cells: list[nn.Module] = []
    widths = [width, width]
    for layer in range(layers):
        reduction = layer in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduction else 1
        # The state before the last is twice as large as the last one right after a reduction.
        before: nn.Module = FactorizedReduce(widths[-2], channels) if reduced else ReLUConvBN(widths[-2], channels, 1)
        kind = "reduce" if reduction else "normal"
        pairs = genotype.cells[kind]
        nodes = [pairs[i : i + 2] for i in range(0, len(pairs), 2)]
        cell = Cell(nodes, genotype.concats[kind], channels, [before, ReLUConvBN(widths[-1], channels, 1)], reduction)
        cells.append(cell)
        widths.append(cell.channels_out)
        reduced = reduction
    return cells, widths[2:]
