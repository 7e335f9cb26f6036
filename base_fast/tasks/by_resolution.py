"""The same images at several resolutions, each a source of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.tasks.source import Source, on_demand


class ByResolution:
    """A `Source` that takes images of R pixels from the source of R, or else resizes them from the next larger one.

    Args:
        sources: by resolution; all hold the same images.

    Raises:
        InputError: labels or class names differ between them.
    """

    def __init__(self, sources: Mapping[int, Source]) -> None:
        self._sources = dict(sorted(sources.items()))
        first = next(iter(self._sources.values()))
        for resolution, other in self._sources.items():
            if other.class_names != first.class_names or not torch.equal(other.labels, first.labels):
                at = f"{min(self._sources)} and {resolution} pixels"
                raise InputError(f"{first.name}: the images of {at} are not the same; prepare them together")
        self.name, self.labels, self.class_names = first.name, first.labels, first.class_names
        self.on_demand = all(map(on_demand, self._sources.values()))

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def images(self, indices: Tensor, resolution: int) -> Tensor:
        return self._of(resolution).images(indices, resolution)

    def _of(self, resolution: int) -> Source:
        larger = [source for size, source in self._sources.items() if size >= resolution]
        return larger[0] if larger else list(self._sources.values())[-1]
