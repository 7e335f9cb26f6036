"""Folders of image files, one folder per class."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from base_fast.errors import InputError
from base_fast.tasks.decode import BROKEN_IMAGE, decode, report_corrupt
from base_fast.tasks.lazy import LazySource
from base_fast.tasks.optional import require
from base_fast.tasks.parallel import map_in_order

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp"}
JPEG_END = b"\xff\xd9"
TAIL = 4096


def open_image_folder(
    root: str | Path, name: str | None = None, cache: bool = True, max_corrupt: float = 0.01
) -> LazySource:
    """Open root/<class>/**/<image>; classes and files in sorted order, decoded when asked for.

    Opening reads each file's header and end, not its pixels; only files which look cut off are decoded. Damage that
    this cannot see raises InputError, naming the file, when the image is used.

    Args:
        root: the folder that holds one folder per class.
        name: what the data is called; None takes the folder's name.
        cache: keep decoded images in memory.
        max_corrupt: largest share of corrupt files that is left out with a warning.

    Raises:
        InputError: no such folder, no classes, a class without images, or too many corrupt files.
    """
    root = Path(root)
    name = name or root.resolve().name
    if not root.is_dir():
        raise InputError(f"path: {root} is not a folder, expected one with a folder of images per class")
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise InputError(f"path: {root} has no folders, expected one folder of images per class")
    found: list[tuple[Path, int]] = []
    for label, class_name in enumerate(classes):
        files = sorted(p for p in (root / class_name).rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise InputError(
                f"path: {root / class_name} has no images ({' '.join(sorted(SUFFIXES))}); add some or delete it"
            )
        found += [(file, label) for file in files]
    require("PIL.Image", "pillow", "the source folder")  # before a missing package makes every file look corrupt
    whole = list(map_in_order(_looks_whole, [file for file, _ in found]))
    report_corrupt(name, [str(f) for (f, _), ok in zip(found, whole, strict=True) if not ok], len(found), max_corrupt)
    kept = [item for item, ok in zip(found, whole, strict=True) if ok]
    files = [file for file, _ in kept]

    def read(index: int, resolution: int) -> Tensor:
        try:
            return decode(files[index], resolution)
        except BROKEN_IMAGE as error:
            raise InputError(f"{files[index]}: cannot be decoded ({error}); repair or delete it") from error

    return LazySource(name, [label for _, label in kept], classes, read, cache=cache)


def _looks_whole(file: Path) -> bool:
    pillow = require("PIL.Image", "pillow", "the source folder")
    try:
        with pillow.open(file) as image:
            jpeg = image.format == "JPEG"
            if not jpeg:
                image.verify()  # for PNG: the checksums
        if jpeg and JPEG_END not in _tail(file):
            decode(file, 32)
    except (*BROKEN_IMAGE, pillow.DecompressionBombError):
        return False
    return True


def _tail(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(-min(TAIL, file.stat().st_size), 2)
        return stream.read()
