"""Images of a source that stay where they are until a batch asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from base_fast.tasks.memory import check_fits
from base_fast.tasks.source import Source, expect, on_demand


class OnDemand:
    """What stands for a tensor uint8 (N, 3, R, R) in a `Split`: some images of a source, read when asked for.

    Args:
        source: where they are.
        indices: which: int64 (N,).
        resolution: R.
    """

    dtype = torch.uint8

    def __init__(self, source: Source, indices: Tensor, resolution: int) -> None:
        self._source, self._indices, self._resolution = source, indices, resolution

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self._indices), 3, self._resolution, self._resolution)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, part: slice) -> OnDemand:
        """Some of them, not yet read."""
        return OnDemand(self._source, self._indices[part], self._resolution)

    def read(self, chosen: Tensor | None = None) -> Tensor:
        """Images by their places here, int64 (B,), or all: uint8 (B, 3, R, R)."""
        return self._source.images(self._indices if chosen is None else self._indices[chosen], self._resolution)

    def expect(self, batches: Sequence[Tensor]) -> None:
        """Say which batches will be read next, by their places here, so that they can be decoded meanwhile."""
        expect(self._source, [self._indices[batch] for batch in batches], self._resolution)


def images_of(source: Source, indices: Tensor, resolution: int) -> Tensor | OnDemand:
    """Images for a `Split`: those of a source that keeps or finds them by itself stay there; others are read now.

    Raises InputError when they do not fit into memory.
    """
    if on_demand(source):
        return OnDemand(source, indices, resolution)
    check_fits(source.name, len(indices), resolution)
    return source.images(indices, resolution)
