"""A store on its way: images in any order, a journal of what is done, and at the end its name."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from base_fast.errors import InputError
from base_fast.runs import atomic_write, progress, to_dict
from base_fast.runs.storage import naming
from base_fast.tasks.listing import Listing, by_class
from base_fast.tasks.source import check_labels
from base_fast.tasks.store import FORMAT, IMAGES, INFO, LABELS, ROWS, StoreInfo

HASHED_BYTES = 2**24
SECONDS_BETWEEN_SAVES = 5.0
JOURNAL = "journal.jsonl"


class Draft:
    """A store that is being made, in a folder of its own; its journal has the chunks of images that are done.

    Args:
        store: the folder that it becomes.
        resolution: R.
        listing: its images.
        chunk: images to a chunk.

    Raises:
        InputError: what is there was begun from other files, or the disk has too little space.
    """

    def __init__(self, store: Path, resolution: int, listing: Listing, chunk: int) -> None:
        self.store, self.resolution, self.listing = store, resolution, listing
        self.folder = store.with_name(f".{store.name}.unfinished")
        self.chunk = chunk
        self.rows = by_class(listing.labels).numpy()
        self.path = self.folder / IMAGES
        header: dict[str, Any] = {"shape": (len(self.rows), 3, resolution, resolution), "fortran_order": False}
        head = BytesIO()
        np.lib.format.write_array_header_1_0(head, {**header, "descr": "|u1"})
        self._head = head.getvalue()
        self.offset = len(self._head)
        self.done: dict[int, dict[str, str]] = {}
        self._waiting: dict[int, dict[str, str]] = {}

    @property
    def size(self) -> int:
        """Bytes of an image."""
        return 3 * self.resolution**2

    def __enter__(self) -> Draft:
        journal = self.folder / JOURNAL
        told = {"source": self.listing.fingerprint, "images": len(self.rows), "chunk": self.chunk}
        if journal.is_file():
            lines = _whole_lines(journal)
            if not lines or lines[0] != told:
                raise InputError(
                    f"{self.folder} was begun from other files, or from these before they changed; delete it"
                )
            self.done = {line["chunk"]: line["corrupt"] for line in lines[1:]}
        else:
            self._allocate()
            atomic_write(journal, f"{json.dumps(told)}\n".encode())
        self._journal = journal.open("ab")
        self._images = os.open(self.path, os.O_RDWR)
        self._saved = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.save()
        finally:
            self._journal.close()
            os.close(self._images)

    def _allocate(self) -> None:
        self.folder.mkdir(exist_ok=True)
        needed, free = len(self.rows) * self.size, shutil.disk_usage(self.folder).free
        if needed > free:
            images = f"{len(self.rows):,} images of {self.resolution} pixels"
            raise InputError(
                f"{self.listing.name}: {images} take {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free in "
                f"{self.folder.parent}; choose another place or a smaller resolution"
            )
        with naming(self.path), self.path.open("wb") as file:
            file.write(self._head)
            file.truncate(self.offset + needed)

    def record(self, chunk: int, corrupt: dict[str, str]) -> None:
        """Take note of a chunk; now and then write down those whose images have reached the disk."""
        self._waiting[chunk] = corrupt
        if time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES:
            self.save()

    def save(self) -> None:
        """Write down what is done, after its images: a machine that stops at any moment leaves no chunk half done."""
        if self._waiting:
            with naming(self.path):
                os.fsync(self._images)
            lines = [json.dumps({"chunk": chunk, "corrupt": corrupt}) for chunk, corrupt in self._waiting.items()]
            self._journal.write("".join(f"{line}\n" for line in lines).encode())
            self._journal.flush()
            os.fsync(self._journal.fileno())
            self.done |= self._waiting
            self._waiting = {}
        self._saved = time.monotonic()

    def finish(self, corrupt: dict[int, str]) -> None:
        """Hash what is there, describe it, and give the folder its name."""
        self.save()
        listing, kept = self.listing, torch.ones(len(self.rows), dtype=torch.bool, device="cpu")
        kept[list(corrupt)] = False
        labels, names = check_labels(listing.name, listing.labels[kept], listing.class_names)
        rows = self.rows[kept.numpy()]
        block = max(HASHED_BYTES // self.size, 1)
        info = StoreInfo(
            format=FORMAT,
            name=listing.name,
            resolution=self.resolution,
            images=len(labels),
            rows=len(self.rows),
            class_names=names,
            corrupt={listing.called(index): reason for index, reason in corrupt.items()},
            source=listing.fingerprint,
            labels_sha256=_write_numbers(self.folder / LABELS, labels.numpy()),
            rows_sha256=_write_numbers(self.folder / ROWS, rows),
            block=block,
            images_sha256=tuple(self._hashes(block)),
        )
        atomic_write(self.folder / INFO, json.dumps(to_dict(info)).encode())
        (self.folder / JOURNAL).unlink()
        os.replace(self.folder, self.store)

    def _hashes(self, block: int) -> Iterator[str]:
        starts = range(0, len(self.rows), block)
        with progress(f"hashing {self.resolution} pixels", len(starts)) as shown:
            for start in starts:
                count = min(block, len(self.rows) - start)
                yield sha256(os.pread(self._images, count * self.size, self.offset + start * self.size)).hexdigest()
                shown.advance()


def _whole_lines(journal: Path) -> list[dict[str, Any]]:
    """What is in a journal; the last line may have been cut off. Cuts it off in the file as well."""
    data = journal.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(journal, len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise InputError(f"{journal} is damaged ({error}); delete {journal.parent}") from None


def _write_numbers(path: Path, numbers: NDArray[np.int64]) -> str:
    file = BytesIO()
    np.save(file, numbers, allow_pickle=False)
    atomic_write(path, file.getvalue())
    return sha256(np.ascontiguousarray(numbers).data).hexdigest()
