"""Folders of image files, one folder per class."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from warnings import warn

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.tasks.decode import BrokenImage, damage, decode, image_suffixes, report_corrupt
from base_fast.tasks.folder_entries import class_folders, files_below
from base_fast.tasks.lazy import LazySource
from base_fast.tasks.on_the_fly import OnTheFly
from base_fast.tasks.optional import require
from base_fast.tasks.parallel import map_in_order
from base_fast.tasks.rgb import is_wide
from base_fast.tasks.source import Source, check_known

JPEG_END = b"\xff\xd9"
TAIL = 4096
# Images that Pillow alone does not read, and that would otherwise be passed over without a word.
UNREADABLE = {".heic", ".heif", ".hif", ".jxl", ".exr", ".hdr", ".dcm", ".svg", ".dng", ".nef", ".cr2", ".cr3", ".arw"}
SHOWN = 3


def open_image_folder(
    root: str | Path,
    name: str | None = None,
    cache: bool = True,
    max_corrupt: float = 0.01,
    class_names: Sequence[str] | None = None,
) -> Source:
    """Open root/<class>/**/<image>, decoded when asked for.

    Classes are sorted by name, numbers in names as numbers; files by path. Links are followed. Hidden entries and what
    systems leave behind (`@eaDir`, `__MACOSX`, `lost+found`, ...) are no data. An image is any file with a suffix that
    Pillow reads; images among the other files are reported in a warning.

    Opening reads each file's header and end, and the whole of those whose format has no checksums or whose greys have
    more than 8 bits. Damage that this cannot see raises InputError, naming the file, when the image is used.

    Args:
        root: the folder that holds one folder per class.
        name: what the data is called; None takes the folder's name.
        cache: keep decoded images in memory.
        max_corrupt: largest share of corrupt images that is left out with a warning.
        class_names: the classes of the training images, for images to measure on: folders of the same names may then
            be missing or empty. None takes those of the folders, none of which may be empty.

    Raises:
        InputError: no such folder, no classes, a class without images, too many corrupt files, or a folder beside
            those of `class_names`.
    """
    return read_folder(FolderListing(root, name, class_names), cache, max_corrupt)


def read_folder(listing: FolderListing, cache: bool = True, max_corrupt: float = 0.01, workers: int = 0) -> Source:
    """As `open_image_folder`, of files that are listed; without a cache, `workers` processes decode them."""
    damages = list(map_in_order(listing.flaw, range(len(listing.labels))))
    corrupt = {listing.called(i): reason for i, reason in enumerate(damages) if reason}
    report_corrupt(listing.name, corrupt, len(damages), max_corrupt)
    kept = [i for i, reason in enumerate(damages) if not reason]
    if not cache:
        return OnTheFly(listing, torch.tensor(kept, dtype=torch.int64, device="cpu"), workers)

    def read(index: int, resolution: int) -> Tensor:
        try:
            return decode(listing.file(kept[index]), resolution)
        except BrokenImage as error:
            name = listing.called(kept[index])
            raise InputError(f"{name}: cannot be decoded ({error}); repair or delete it") from error

    return LazySource(listing.name, listing.labels[kept], listing.class_names, read)


class FolderListing:
    """The images of class folders, as a `Listing`.

    Args:
        root, name, class_names: as of `open_image_folder`.

    Raises:
        InputError: no such folder, no classes, a class without images, or a folder beside those of `class_names`.
    """

    in_order_only = False

    def __init__(self, root: str | Path, name: str | None = None, class_names: Sequence[str] | None = None) -> None:
        self.root = root = Path(os.path.expanduser(root))
        self.name = name or root.resolve().name
        require("PIL.Image", "pillow", "the source folder")  # before a missing package makes every file look corrupt
        folders = class_folders(root)
        if not folders:
            raise InputError(f"path: {root} has no folders, expected one folder of images per class")
        found: list[tuple[Path, str]] = []
        passed_over: list[Path] = []
        for folder in folders:
            inside = files_below(folder)
            images = [file for file in inside if file.suffix.lower() in image_suffixes()]
            passed_over += [file for file in inside if file.suffix.lower() not in image_suffixes()]
            if not images and class_names is None:
                raise InputError(
                    f"path: {folder} has no images (such as .jpg, .png, .tif, .webp), but {len(inside)} other files; "
                    "add some or delete it"
                )
            found += [(file, folder.name) for file in images]
        self.class_names = tuple(class_names or (folder.name for folder in folders))
        number = {folder: label for label, folder in enumerate(self.class_names)}
        check_known(f"path: {root}", list(dict.fromkeys(folder for _, folder in found)), self.class_names)
        _report_passed_over(self.name, passed_over)
        self._files = [file for file, _ in found]
        self.labels = torch.tensor([number[folder] for _, folder in found], dtype=torch.int64, device="cpu")

    @cached_property
    def fingerprint(self) -> str:
        facts = [[str(file.relative_to(self.root)), *_size_and_time(file)] for file in self._files]
        return sha256(json.dumps([self.class_names, facts]).encode()).hexdigest()

    def called(self, index: int) -> str:
        return str(self._files[index])

    def file(self, index: int) -> Path:
        return self._files[index]

    def flaw(self, index: int) -> str:
        return _damage(self._files[index])


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:  # a link that leads nowhere is a corrupt image, which is told when it is read
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _damage(file: Path) -> str:
    """What is wrong with a file, as far as its header, its end or its checksums say; nothing where it looks whole."""
    pillow = require("PIL.Image", "pillow", "the source folder")
    try:
        with pillow.open(file) as image:
            checked = image.format in ("PNG", "JPEG") and not is_wide(image.mode)
            if checked and image.format == "PNG":
                image.verify()
        # After its end, a JPEG may have been padded; one that ends otherwise may still be whole.
        if not (checked and (image.format != "JPEG" or _tail(file).rstrip(b"\0\r\n").endswith(JPEG_END))):
            decode(file, 32)
    except Exception as error:  # Pillow raises errors of many types on damaged headers
        return damage(error)
    return ""


def _tail(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(-min(TAIL, file.stat().st_size), 2)
        return stream.read()


def _report_passed_over(name: str, files: Sequence[Path]) -> None:
    images = [file for file in files if file.suffix.lower() in UNREADABLE or _is_image(file)]
    if images:
        shown = ", ".join(map(str, images[:SHOWN])) + (", ..." if len(images) > SHOWN else "")
        warn(f"{name}: {len(images)} files look like images, but have no suffix that is read: {shown}", stacklevel=3)


def _is_image(file: Path) -> bool:
    try:
        with require("PIL.Image", "pillow", "the source folder").open(file):
            return True
    except Exception:
        return False
