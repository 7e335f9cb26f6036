"""Decode a data set once into stores on disk: by several processes, resumable, with progress."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from base_fast.errors import InputError, Interrupted
from base_fast.runs import interruptible, progress, read_json
from base_fast.runs.lock import hold
from base_fast.runs.storage import naming
from base_fast.runs.workers import Workers, usable_cores
from base_fast.tasks.by_resolution import ByResolution
from base_fast.tasks.decode import BrokenImage, report_corrupt
from base_fast.tasks.draft import Draft
from base_fast.tasks.listing import Listing, decoded
from base_fast.tasks.store import INFO, StoreInfo, folder_of, open_stores

CHUNK = 256
SECONDS_BETWEEN_LOOKS = 0.2
# Fewer images are decoded before processes have begun.
FEW = 1000


def prepare(
    listing: Listing,
    resolutions: Sequence[int],
    folder: Path,
    max_corrupt: float = 0.01,
    workers: int | None = None,
    wait: bool = False,
) -> list[Path]:
    """Make the stores of a data set that `folder` lacks; what an earlier call had begun is gone on with.

    Args:
        listing: the images to decode.
        resolutions: pixels per side; each image is read once for all.
        folder: gets a folder `<R>px` per resolution, which is there when it is whole.
        max_corrupt: largest share of corrupt images that is left out with a warning.
        workers: processes that decode; None takes the cores that this process may use, 0 none.
        wait: for another process that prepares this folder, instead of an error.

    Returns:
        The stores' folders.

    Raises:
        InputError: too many images are corrupt, the folder holds other images, or the disk has too little space.
        Interrupted: SIGINT or SIGTERM; the same call goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stores = {resolution: folder_of(folder, resolution) for resolution in resolutions}
    with _alone(folder, wait):
        missing = [resolution for resolution, path in stores.items() if not _is_of(path, listing, max_corrupt)]
        if missing:
            if workers is None:
                workers = usable_cores() if len(listing.labels) > FEW else 0
            with ExitStack() as stack:
                drafts = [stack.enter_context(Draft(stores[r], r, listing, CHUNK)) for r in missing]
                corrupt = _decode(listing, drafts, workers, max_corrupt)
                for draft in drafts:
                    draft.finish(corrupt)
    return list(stores.values())


def cached(
    listing: Listing, resolutions: Sequence[int], cache_dir: Path, max_corrupt: float, workers: int | None = None
) -> ByResolution:
    """The stores of a data set in a folder of `cache_dir` that belongs to these very files; made when they lack.

    Raises:
        InputError: as `prepare`, or `cache_dir` cannot be written.
    """
    name = f"{listing.name}-{listing.fingerprint[:16]}".replace("/", "_")
    folder = cache_dir / name
    try:
        prepare(listing, resolutions, folder, max_corrupt, workers, wait=True)
        try:
            stores = open_stores(folder, resolutions)
        except InputError as error:
            warn(f"{error}; the images are decoded again", stacklevel=3)
            shutil.rmtree(folder)
            prepare(listing, resolutions, folder, max_corrupt, workers, wait=True)
            stores = open_stores(folder, resolutions)
    except OSError as error:
        raise InputError(f"cache_dir: {cache_dir} cannot be written ({error})") from error
    return stores


def begun(folder: Path) -> bool:
    """Whether a preparation in `folder` did not end."""
    return any(folder.glob(".*px.unfinished"))


@contextmanager
def _alone(folder: Path, wait: bool) -> Iterator[None]:
    while True:
        try:
            lock = hold(folder / ".lock", f"{folder} is being prepared")
            break
        except InputError:
            if not wait:
                raise
            time.sleep(SECONDS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        lock.close()


def _is_of(store: Path, listing: Listing, max_corrupt: float) -> bool:
    """Whether a whole store is there; raises InputError when it holds other images, or lacks too many."""
    if not (store / INFO).is_file():
        return False
    info = read_json(store / INFO, StoreInfo)
    if len(info.corrupt) > max_corrupt * info.rows:  # it was made under a laxer limit
        report_corrupt(info.name, info.corrupt, info.rows, max_corrupt)
    if info.source != listing.fingerprint:
        raise InputError(
            f"{store} was prepared from other files than those of {listing.name}, or from these before they changed; "
            "delete it, or choose another folder"
        )
    return True


class _Chunk:
    """Decodes a chunk of images into drafts: what the processes do.

    __call__((chunk, places of the drafts)) -> what is wrong with each corrupt image, by number
    """

    def __init__(self, listing: Listing, drafts: Sequence[Draft]) -> None:
        self._listing = listing
        self._files = [(draft.path, draft.resolution, draft.offset, draft.size) for draft in drafts]
        self._rows: NDArray[np.int64] = drafts[0].rows
        self._open: dict[tuple[int, Path], int] = {}

    def __call__(self, item: tuple[int, list[int]]) -> dict[int, str]:
        chunk, wanted = item
        files = [self._files[place] for place in wanted]
        corrupt: dict[int, str] = {}
        for index in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self._rows))):
            try:
                images = decoded(self._listing, index, [resolution for _, resolution, _, _ in files])
            except BrokenImage as error:
                corrupt[index] = str(error)
                continue
            for (path, _, offset, size), image in zip(files, images, strict=True):
                place = offset + int(self._rows[index]) * size
                _write(self._descriptor(path), image.numpy().data.cast("B"), place, path)
        return corrupt

    def _descriptor(self, path: Path) -> int:
        mine = (os.getpid(), path)
        if mine not in self._open:
            self._open[mine] = os.open(path, os.O_WRONLY)
        return self._open[mine]

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open = {}


def _write(descriptor: int, data: memoryview, place: int, path: Path) -> None:
    with naming(path):
        while data:
            written = os.pwrite(descriptor, data, place)
            data, place = data[written:], place + written


def _decode(listing: Listing, drafts: Sequence[Draft], workers: int, max_corrupt: float) -> dict[int, str]:
    """Do the chunks that are to be done; the corrupt images of all, by number in order."""
    total = len(listing.labels)
    chunks = range(-(-total // CHUNK))
    wanted = {c: [place for place, draft in enumerate(drafts) if c not in draft.done] for c in chunks}
    todo = [(chunk, places) for chunk, places in wanted.items() if places]
    before = total - sum(_size(chunk, total) for chunk, _ in todo)
    journals = [corrupt for draft in drafts for corrupt in draft.done.values()]
    corrupt = {int(number): reason for journal in journals for number, reason in journal.items()}
    sizes = ", ".join(str(draft.resolution) for draft in drafts)
    work = _Chunk(listing, drafts)
    with (
        interruptible() as interruption,
        progress(f"decoding {listing.name} to {sizes} pixels", total, before) as shown,
        Workers(work, min(workers, len(todo))) as pool,
    ):
        try:
            began, done = time.monotonic(), 0
            for (chunk, places), broken in zip(todo, pool.map_in_order(todo), strict=True):
                for place in places:
                    drafts[place].record(chunk, {str(number): reason for number, reason in broken.items()})
                corrupt |= broken
                if len(corrupt) > max_corrupt * total:
                    break
                done += _size(chunk, total)
                rate = done / max(time.monotonic() - began, 1e-9)
                shown.advance(_size(chunk, total), rate=f"{rate:,.0f} images/s", corrupt=len(corrupt))
                if interruption.requested:
                    for draft in drafts:
                        draft.save()
                    raise Interrupted(f"prepare: stopped after {before + done:,} of {total:,} images")
        finally:
            work.close()
    corrupt = dict(sorted(corrupt.items()))
    report_corrupt(listing.name, {listing.called(i): reason for i, reason in corrupt.items()}, total, max_corrupt)
    return corrupt


def _size(chunk: int, total: int) -> int:
    return min((chunk + 1) * CHUNK, total) - chunk * CHUNK
