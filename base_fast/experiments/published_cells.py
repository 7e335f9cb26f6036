"""Cells that published one-shot searches found in NAS-Bench-201, as their authors printed them; and the best one.

The best cell has the highest mean test accuracy on CIFAR-10 after 200 epochs (94.56, 94.36, 94.20), which DrNAS and
MetaD2A report to reach.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = "AutoDL-Projects, docs/NATS-Bench.md at commit 06d5c54 (Dong, Liu, Musial, Gabrys, NATS-Bench)"


class PublishedCells(NamedTuple):
    """What a search found: one cell for each of its seeds.

    Attributes:
        search: its name and the data that it searched on.
        cells: as strings of the benchmark.
    """

    search: str
    cells: tuple[str, ...]


_SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
_NO_PATH = "|none~0|+|skip_connect~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"

PUBLISHED = (
    PublishedCells("DARTS first order, CIFAR-10", (_SKIPS,) * 3),
    PublishedCells("DARTS second order, CIFAR-10", (_SKIPS,) * 3),
    PublishedCells(
        "GDAS, CIFAR-10",
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|nor_conv_1x1~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            "|avg_pool_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_3x3~0|nor_conv_1x1~1|nor_conv_1x1~2|",
        ),
    ),
    PublishedCells(
        "DARTS first order, CIFAR-100",
        (
            _NO_PATH,
            _NO_PATH,
            "|skip_connect~0|+|skip_connect~0|none~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|",
        ),
    ),
    PublishedCells(
        "DARTS second order, CIFAR-100",
        (
            "|none~0|+|skip_connect~0|none~1|+|skip_connect~0|nor_conv_1x1~1|skip_connect~2|",
            "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|none~2|",
            "|skip_connect~0|+|nor_conv_1x1~0|none~1|+|nor_conv_3x3~0|skip_connect~1|none~2|",
        ),
    ),
    PublishedCells(
        "GDAS, CIFAR-100",
        (
            "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|none~1|+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_1x1~2|",
            "|avg_pool_3x3~0|+|nor_conv_3x3~0|none~1|+|nor_conv_3x3~0|nor_conv_1x1~1|nor_conv_1x1~2|",
        ),
    ),
    PublishedCells(
        "best cell after 200 epochs",
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|",),
    ),
)
