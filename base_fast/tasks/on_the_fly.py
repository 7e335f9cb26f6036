"""Images decoded whenever they are asked for, by processes that work ahead: for data too large to keep decoded."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from base_fast.errors import InputError
from base_fast.runs.workers import Workers
from base_fast.tasks.decode import BrokenImage, decode
from base_fast.tasks.listing import Listing
from base_fast.tasks.resize import check_resolution
from base_fast.tasks.source import check_labels

Part = tuple[int, list[int]]
Pixels = NDArray[np.uint8]

# Images to a piece of work: small enough that a batch occupies all processes.
PIECE = 8
# Batches that are held for whoever announced them; of several that train side by side, each has some.
HELD = 16


class OnTheFly:
    """A `Source` that keeps nothing: `workers` processes decode what is asked for, and what was announced by `expect`.

    An image is the same whichever process decodes it, and batches come in the order in which they are asked for, so
    nothing depends on the number of workers.

    Args:
        listing: the encoded images.
        kept: those that are whole, int64 (N,); None takes all.
        workers: number of processes; 0 decodes in this one.

    Raises:
        InputError: reading one image would take reading those before it, or labels are out of range.
    """

    on_demand = True

    def __init__(self, listing: Listing, kept: Tensor | None = None, workers: int = 0) -> None:
        if listing.in_order_only:
            raise InputError(
                f"{listing.name}: images of compressed shards cannot be read one by one; unpack the shards (gunzip), "
                "or prepare a store"
            )
        self._listing, self._workers = listing, workers
        self._kept = torch.arange(len(listing.labels), device="cpu") if kept is None else kept
        self.name = listing.name
        self.labels, self.class_names = check_labels(listing.name, listing.labels[self._kept], listing.class_names)
        self._pool: tuple[int, Workers[Part, Pixels]] | None = None
        self._ahead: OrderedDict[tuple[int, bytes], list[Future[Pixels]]] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_pool": None, "_ahead": OrderedDict()}

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def images(self, indices: Tensor, resolution: int) -> Tensor:
        """As in `Source`. Raises InputError that names the file when an image is damaged."""
        check_resolution(resolution)
        images = torch.empty((len(indices), 3, resolution, resolution), dtype=torch.uint8, device="cpu")
        pool = self._processes()
        futures = self._ahead.pop((resolution, indices.numpy().tobytes()), None)
        parts = (
            (pool.result(one) for one in futures) if futures else pool.map_in_order(self._parts(indices, resolution))
        )
        for to, part in zip(images.split(PIECE), parts, strict=True):
            to[:] = torch.from_numpy(part)
        return images

    def expect(self, batches: Sequence[Tensor], resolution: int) -> None:
        """Begin with batches that will be asked for next, as far as there are processes for it."""
        if self._workers == 0:
            return
        pool = self._processes()
        for indices in batches:
            name = (resolution, indices.numpy().tobytes())
            if name not in self._ahead:
                self._ahead[name] = [pool.submit(part) for part in self._parts(indices, resolution)]
        while len(self._ahead) > HELD:
            for future in self._ahead.popitem(last=False)[1]:
                future.cancel()

    def _parts(self, indices: Tensor, resolution: int) -> list[Part]:
        return [(resolution, part.tolist()) for part in self._kept[indices].split(PIECE)]

    def _processes(self) -> Workers[Part, Pixels]:
        """This process's own: one that was forked has none of those of the process that it was forked from."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), Workers(self._decode, self._workers))
            self._ahead = OrderedDict()
        return self._pool[1]

    def _decode(self, part: Part) -> Pixels:
        resolution, indices = part
        images = np.empty((len(indices), 3, resolution, resolution), np.uint8)
        for place, index in enumerate(indices):
            try:
                images[place] = decode(self._listing.file(index), resolution).numpy()
            except BrokenImage as error:
                name = self._listing.called(index)
                raise InputError(f"{name}: cannot be decoded ({error}); repair or delete it") from error
        return images
