"""Which entries of a tree of class folders are data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from base_fast.errors import InputError

# What file systems, network storage and editors put beside the files of users, in lower case; hidden names aside.
LEFT_BEHIND = {
    *(
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "@tmp",
        "#recycle",
        "#snapshot",
        "~snapshot",
        "__macosx",
        "__pycache__",
    ),
    *("lost+found", "lost.dir", "found.000", "$recycle.bin", "recycler", "recycled", "system volume information"),
    *("network trash folder", "temporary items"),
}


def class_folders(root: Path) -> list[Path]:
    """The folders in `root`, one per class, in the order of the classes: numbers in names count as numbers.

    Raises:
        InputError: `root` is no folder, cannot be read, or holds a link that leads nowhere.
    """
    if not root.is_dir():
        raise InputError(f"path: {root} is not a folder, expected one with a folder of images per class")
    try:
        entries = [entry for entry in root.iterdir() if not _left_behind(entry.name)]
    except OSError as error:
        raise _unreadable(error) from error
    for entry in entries:
        if _leads_nowhere(entry) and not entry.suffix:
            raise InputError(
                f"path: {entry} is a link to {os.readlink(entry)}, which is not there; repair or delete it"
            )
    return sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: in_numeric_order(entry.name))


def files_below(folder: Path) -> list[Path]:
    """All files in `folder` and its folders, by path; links are followed, each folder once.

    A link that leads nowhere counts as a file: its image is missing.

    Raises:
        InputError: a folder cannot be read.
    """
    return sorted(_files_below(folder, set()))


def _files_below(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(error) from error
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        if _left_behind(entry.name):
            continue
        if entry.is_dir():
            yield from _files_below(entry, seen)
        elif entry.is_file() or _leads_nowhere(entry):
            yield entry


def in_numeric_order(name: str) -> list[tuple[int, str]]:
    """A key to sort names by, in which "2" and "class 2" come before "10" and "class 10"."""
    parts = re.split(r"([0-9]+)", name)
    # A number of any length by its number of digits, then by them; what stands between numbers as text.
    digits = [part.lstrip("0") for part in parts]
    key = [(len(digits[i]), digits[i]) if i % 2 else (0, part) for i, part in enumerate(parts)]
    return [*key, (0, name)]


def _left_behind(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _unreadable(error: OSError) -> InputError:
    return InputError(f"path: {error.filename} cannot be read ({error.strerror})")
