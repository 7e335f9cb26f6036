"""Decoded images on disk, memory-mapped: all processes of a machine share what the system keeps of them in memory.

A store of one resolution R is a folder:

    store.json     StoreInfo: class names, and what the other files must be
    labels.npy     int64 (N,)
    rows.npy       int64 (N,): the row of `images.npy` that holds image i
    images.npy     uint8 (rows, 3, R, R), class by class, so that a task of few classes reads few stretches of it

Images are numbered as in the source that the store was prepared from, so that every draw from it gives the same images.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from base_fast.errors import InputError
from base_fast.runs import progress, read_json
from base_fast.tasks.by_resolution import ByResolution
from base_fast.tasks.resize import check_resolution, square
from base_fast.tasks.source import COPIED, check_labels

FORMAT = 1
INFO, LABELS, ROWS, IMAGES = "store.json", "labels.npy", "rows.npy", "images.npy"
REMEDY = "delete that folder, and prepare it again"


@dataclass(frozen=True)
class StoreInfo:
    """store.json.

    Attributes:
        format: of the folder.
        name: what the data is called.
        resolution: R.
        images: N.
        rows: of images.npy; those of corrupt images are not used.
        class_names: one per class.
        corrupt: the images that were left out, and what is wrong with each.
        source: the fingerprint of the files that it was prepared from.
        labels_sha256, rows_sha256: of the numbers in these files.
        block: rows to a hash of `images_sha256`.
        images_sha256: of each block of rows.
    """

    format: int
    name: str
    resolution: int
    images: int
    rows: int
    class_names: tuple[str, ...]
    corrupt: dict[str, str]
    source: str
    labels_sha256: str
    rows_sha256: str
    block: int
    images_sha256: tuple[str, ...]


class Store:
    """The images of a store, as a `Source`; opening it reads labels and rows, and no image.

    Args:
        folder: of one resolution.

    Raises:
        InputError: there is no store, its format is another one, a file is missing, cut off or changed, or images.npy
            cannot be mapped.
    """

    on_demand = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.info = info = read_json(folder / INFO, StoreInfo)
        if info.format != FORMAT:
            raise InputError(f"{folder / INFO}: got format {info.format}, expected {FORMAT}, which this version reads")
        self.name, self.resolution = info.name, info.resolution
        labels = self._numbers(LABELS, info.labels_sha256)
        self._rows = self._numbers(ROWS, info.rows_sha256)
        self.labels, self.class_names = check_labels(info.name, torch.from_numpy(labels), info.class_names)
        self._pixels = self._mapped()

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def images(self, indices: Tensor, resolution: int) -> Tensor:
        images = torch.empty(
            (len(indices), 3, check_resolution(resolution), resolution), dtype=torch.uint8, device="cpu"
        )
        for to, chosen in zip(images.split(COPIED), indices.split(COPIED), strict=True):
            rows = self._rows[chosen.numpy()]
            if resolution == self.resolution:
                np.take(self._pixels, rows, axis=0, out=to.numpy(), mode="clip")  # `raise` takes a copy
            else:
                to[:] = square(torch.from_numpy(self._pixels[rows]), resolution)
        return images

    def verify(self) -> None:
        """Read all images, and compare them with their hashes. Raises InputError that names those of a damaged part."""
        info = self.info
        starts = range(0, info.rows, info.block)
        with progress(f"verifying {self.folder}", len(starts)) as shown:
            for start, expected in zip(starts, info.images_sha256, strict=True):
                if sha256(self._pixels[start : start + info.block].data).hexdigest() != expected:
                    stop = min(start + info.block, info.rows)
                    raise InputError(f"{self.folder / IMAGES}: rows {start} to {stop - 1} have changed; {REMEDY}")
                shown.advance()

    def _numbers(self, name: str, expected: str) -> NDArray[np.int64]:
        path = self.folder / name
        try:
            numbers = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} cannot be read ({error}); {REMEDY}") from None
        if (numbers.dtype, numbers.shape) != (np.dtype(np.int64), (self.info.images,)):
            raise InputError(f"{path}: {numbers.dtype} {numbers.shape}, expected int64 ({self.info.images},); {REMEDY}")
        if sha256(numbers.data).hexdigest() != expected:
            raise InputError(f"{path} has changed: its hash is not that of {INFO}; {REMEDY}")
        return numbers

    def _mapped(self) -> NDArray[np.uint8]:
        path, info = self.folder / IMAGES, self.info
        expected = (info.rows, 3, info.resolution, info.resolution)
        try:
            pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            needed = f"{info.rows * 3 * info.resolution**2 / 1e9:.1f} GB"
            hint = f"its {needed} of address space may be more than `ulimit -v` allows" if _no_memory(error) else REMEDY
            raise InputError(f"{path} cannot be mapped ({error}); {hint}") from None
        if (pixels.dtype, pixels.shape) != (np.dtype(np.uint8), expected):
            raise InputError(f"{path}: {pixels.dtype} {pixels.shape}, expected uint8 {expected}; {REMEDY}")
        return pixels


def _no_memory(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.ENOMEM


def folder_of(path: Path, resolution: int) -> Path:
    """Where in `path` the store of a resolution is."""
    return path / f"{resolution}px"


def resolutions_in(path: Path) -> list[int]:
    """The resolutions of which there are whole stores in `path`, ascending."""
    names = [info.parent.name for info in path.glob(f"*px/{INFO}")]
    return sorted(int(name[:-2]) for name in names if name[:-2].isdecimal())


def open_stores(path: Path, resolutions: Sequence[int], verify: bool = False) -> ByResolution:
    """The stores of a prepared data set at some resolutions, each of its own or resized from the next larger one.

    Args:
        path: the folder that was prepared.
        resolutions: pixels per side.
        verify: compare all images with their hashes.

    Raises:
        InputError: there is no store, or none as large; `Store` has more.
    """
    found = resolutions_in(path)
    if not found:
        raise InputError(f"path: {path} holds no store; make one with: base-fast prepare")
    if max(resolutions) > found[-1]:
        have = ", ".join(map(str, found))
        raise InputError(
            f"path: {path} has stores of {have} pixels, expected one of {max(resolutions)}: base-fast prepare"
        )
    wanted = {min(one for one in found if one >= resolution) for resolution in resolutions}
    stores = {one: Store(folder_of(path, one)) for one in sorted(wanted)}
    for store in stores.values() if verify else ():
        store.verify()
    return ByResolution(stores)
