"""Decode a data set once into memory-mapped stores, from which tasks read only their own images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from base_fast.cli.command import Command, Flat, required
from base_fast.errors import InputError
from base_fast.tasks import SourceConfig
from base_fast.tasks.config import open_listing
from base_fast.tasks.prepare import begun, prepare
from base_fast.tasks.store import Store, resolutions_in


@dataclass(frozen=True)
class PrepareSettings:
    """What is decoded, and to which sizes."""

    source: SourceConfig = SourceConfig(kind="folder", path=".")
    """Images in class folders or shards; all classes are prepared."""
    resolutions: tuple[int, ...] = (32, 64)
    """Pixels per side; each gets a store."""


@dataclass(frozen=True)
class Prepare(Command):
    """Leaves OUT/<split>/<R>px for each resolution R, to be opened with `kind = "store"` and `path = OUT`.

    Stores that are whole stay as they are; what was interrupted or killed goes on with --resume.
    """

    out: Path | None = None
    """Folder for the stores."""
    resume: bool = False
    """Go on with a preparation that did not end."""
    check: bool = False
    """Decode nothing: compare the stores in OUT with their hashes."""
    config: Path | None = None
    """File (.toml) with the settings below; options override it."""
    Settings: ClassVar = PrepareSettings
    settings: Annotated[PrepareSettings, Flat] = PrepareSettings()

    def execute(self) -> int:
        source = self.settings.source
        out = required("out", self.out, "a folder for the stores") / source.split
        if self.check:
            return self._check(out)
        if source.classes.strip():
            raise InputError(f"classes: {source.classes!r}, but all are prepared; choose when the store is used")
        if begun(out) and not self.resume:
            raise InputError(f"{out} has a preparation that did not end; go on with --resume, or delete it")
        listing = open_listing(source)
        whole = resolutions_in(out)
        began = time.monotonic()
        stores = prepare(listing, self.settings.resolutions, out, source.max_corrupt, source.workers)
        seconds = time.monotonic() - began
        for folder in stores:
            store = Store(folder)
            size = store.info.rows * 3 * store.resolution**2
            print(f"{folder}: {len(store.labels):,} images of {store.num_classes} classes, {size / 1e9:.2f} GB")
        if set(self.settings.resolutions) - set(whole):
            print(f"prepared in {seconds:.1f} s")
        else:
            print("all of it was there already")
        return 0

    def _check(self, out: Path) -> int:
        found = resolutions_in(out)
        if not found:
            raise InputError(f"--out: {out} holds no store to check")
        for resolution in found:
            store = Store(out / f"{resolution}px")
            store.verify()
            print(f"{store.folder}: {len(store.labels):,} images, as they were prepared")
        return 0
