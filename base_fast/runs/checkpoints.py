"""Checkpoints, of which the newest few are kept: a damaged one is no loss but of the steps since the one before."""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from base_fast.errors import InputError
from base_fast.runs.storage import load_tensors, naming, save_tensors

KEPT = 3


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Replace the checkpoint at `path` atomically; those before it stay: the latest as <name>.1.safetensors, and so on.

    Raises OSError as `save_tensors`; the checkpoint is then what it was.
    """
    if path.exists():
        with naming(path):
            for i in range(KEPT - 1, 1, -1):
                if before(path, i - 1).exists():
                    os.replace(before(path, i - 1), before(path, i))
            _also_at(path, before(path, 1))
    save_tensors(path, tensors, header)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, with a warning where that is not the last one; None if there is none.

    Raises InputError when all of them are damaged.
    """
    if not path.exists():
        return None
    found = [path, *(one for i in range(1, KEPT) if (one := before(path, i)).exists())]
    first: InputError | None = None
    for one in found:
        try:
            loaded = load_tensors(one)
        except InputError as error:
            first = first or error
            continue
        if first is not None:
            warnings.warn(f"{first}; going on from the checkpoint before it, {one.name}", stacklevel=3)
        return loaded
    assert first is not None
    raise first


def before(path: Path, number: int) -> Path:
    """Where the checkpoint so many before the last one is."""
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def _also_at(path: Path, other: Path) -> None:
    """The file under a second name too, so that it is there at any moment."""
    temporary = other.with_name(f".{other.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
        os.link(path, temporary)
    except OSError:  # a file system without links
        shutil.copyfile(path, temporary)
    os.replace(temporary, other)
