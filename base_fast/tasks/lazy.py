"""Images decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from base_fast.tasks.memory import can_keep, check_fits
from base_fast.tasks.parallel import map_in_order
from base_fast.tasks.resize import check_resolution
from base_fast.tasks.source import COPIED, check_labels


class LazySource:
    """Images read one by one through a function.

    Args:
        name: what the data is called.
        labels: whole numbers (N,).
        class_names: one per class; None makes a class of every number that occurs.
        read: (index, resolution R) -> uint8 (3, R, R).
        cache: keep what was read in memory (3·R² bytes an image and resolution), if all of it fits there.
        threads: whether `read` may run in several threads.
    """

    def __init__(
        self,
        name: str,
        labels: Tensor | Sequence[int],
        class_names: Sequence[str] | None,
        read: Callable[[int, int], Tensor],
        cache: bool = True,
        threads: bool = True,
    ) -> None:
        self.name = name
        self.labels, self.class_names = check_labels(name, labels, class_names)
        self._read, self._cache, self._threads = read, cache, threads
        self._kept: dict[int, _Kept] = {}

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def images(self, indices: Tensor, resolution: int) -> Tensor:
        """As in `Source`; what is read for the first time shares its memory with the cache, so do not write to it."""
        check_resolution(resolution)
        if self._cache and resolution not in self._kept:
            self._cache = can_keep(self.name, len(self.labels), (resolution,))
        kept = self._kept.get(resolution) or _Kept(len(self.labels))
        if self._cache:
            self._kept[resolution] = kept
        missing = kept.missing(indices)
        check_fits(self.name, len(missing), resolution)

        def read(index: int) -> Tensor:
            return self._read(index, resolution)

        fresh = torch.empty((len(missing), 3, resolution, resolution), dtype=torch.uint8, device="cpu")
        for place, image in enumerate(map_in_order(read, missing) if self._threads else map(read, missing)):
            fresh[place] = image
        kept.add(missing, fresh)
        return fresh if missing == indices.tolist() else kept.images(indices, resolution)


class _Kept:
    """Images at one resolution, in blocks as they were read: no table of tensors, which would take memory of its own.

    Args:
        count: N, number of images of the source.
    """

    def __init__(self, count: int) -> None:
        self._blocks: list[Tensor] = []
        self._block = torch.full((count,), -1, dtype=torch.int32, device="cpu")
        self._row = torch.zeros(count, dtype=torch.int64, device="cpu")

    def missing(self, indices: Tensor) -> list[int]:
        """Which of `indices` are not there, each once, in their order."""
        return list(dict.fromkeys(indices[self._block[indices] < 0].tolist()))

    def add(self, indices: list[int], images: Tensor) -> None:
        self._block[indices] = len(self._blocks)
        self._row[indices] = torch.arange(len(indices), device="cpu")
        self._blocks.append(images)

    def images(self, indices: Tensor, resolution: int) -> Tensor:
        """Copy images that are there: uint8 (B, 3, R, R)."""
        images = torch.empty((len(indices), 3, resolution, resolution), dtype=torch.uint8, device="cpu")
        for to, some in zip(images.split(COPIED), indices.split(COPIED), strict=True):
            blocks = self._block[some]
            for number in blocks.unique().tolist():
                chosen = blocks == number
                to[chosen] = self._blocks[number][self._row[some[chosen]]]
        return images
