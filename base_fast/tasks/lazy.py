"""Images decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from base_fast.tasks.parallel import map_in_order
from base_fast.tasks.resize import check_resolution
from base_fast.tasks.source import check_labels


class LazySource:
    """Images read one by one through a function.

    Args:
        name: what the data is called.
        labels: whole numbers (N,).
        class_names: one per class; None makes a class of every number that occurs.
        read: (index, resolution R) -> uint8 (3, R, R).
        cache: keep what was read in memory (3·R² bytes an image and resolution).
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
        self._kept: dict[tuple[int, int], Tensor] = {}

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def images(self, indices: Tensor, resolution: int) -> Tensor:
        check_resolution(resolution)
        wanted = indices.tolist()
        missing = [i for i in dict.fromkeys(wanted) if (i, resolution) not in self._kept]

        def read(index: int) -> Tensor:
            return self._read(index, resolution)

        fresh = dict(zip(missing, map_in_order(read, missing) if self._threads else map(read, missing), strict=True))
        if self._cache:
            self._kept.update({(i, resolution): image for i, image in fresh.items()})
        images = [fresh[i] if i in fresh else self._kept[i, resolution] for i in wanted]
        return (
            torch.stack(images)
            if images
            else torch.empty((0, 3, resolution, resolution), dtype=torch.uint8, device="cpu")
        )
