"""Where every image lies in the shards of a data set, so that any of them can be read alone."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.tasks.parallel import map_in_order
from base_fast.tasks.shard_samples import Place, is_zipped, sample_places


class ShardIndex:
    """A `Listing` of the samples of tar files, read when first asked for; of plain ones, headers and labels alone.

    Args:
        shards: tar files, plain or zipped, in order.
        name: what the data is called.
        class_names: one per class; None makes a class of every number that occurs.

    Raises:
        InputError: a shard is damaged, a sample lacks its image or label, or there are no samples.
    """

    def __init__(self, shards: Sequence[Path], name: str, class_names: Sequence[str] | None = None) -> None:
        self.name, self.shards = name, tuple(shards)
        self.class_names = None if class_names is None else tuple(class_names)
        self.zipped = tuple(map(is_zipped, self.shards))
        self._open: tuple[int, int, IO[bytes] | gzip.GzipFile] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": None}

    @cached_property
    def _places(self) -> list[tuple[int, Place]]:
        """Of every sample, the number of its shard and where it is there."""
        # Threads help where reading waits for a disk or a network.
        found = list(map_in_order(lambda shard: list(sample_places(shard)), self.shards, chunk=1))
        if not any(found):
            listed = ", ".join(map(str, self.shards))
            raise InputError(f"path: {listed}: no samples, expected <index>.jpg and <index>.cls members")
        return [(number, place) for number, places in enumerate(found) for place in places]

    @cached_property
    def labels(self) -> Tensor:
        return torch.tensor([place.label for _, place in self._places], device="cpu")

    @property
    def in_order_only(self) -> bool:
        return any(self.zipped)

    @cached_property
    def fingerprint(self) -> str:
        facts = [[shard.name, shard.stat().st_size, shard.stat().st_mtime_ns] for shard in self.shards]
        return sha256(json.dumps([facts, self.class_names]).encode()).hexdigest()

    def called(self, index: int) -> str:
        return self._places[index][1].name

    def flaw(self, index: int) -> str:
        return ""

    def file(self, index: int) -> bytes:
        """The bytes of an image. Of zipped shards, ask for them in order, and from one thread.

        Raises InputError when the shard is shorter than it was.
        """
        shard, place = self._places[index]
        stream = self._stream(shard)
        if isinstance(stream, gzip.GzipFile):
            stream.seek(place.offset)
            data = stream.read(place.size)
        else:
            data = os.pread(stream.fileno(), place.size, place.offset)  # moves nothing that threads share
        if len(data) < place.size:
            raise InputError(f"path: {self.shards[shard]} has changed: {place.name} is cut off; open it again")
        return data

    def _stream(self, shard: int) -> IO[bytes] | gzip.GzipFile:
        """The open shard; of each process its own, since a place in a file is shared with the process forked from."""
        held = self._open
        if held is None or held[:2] != (os.getpid(), shard):
            path = self.shards[shard]
            # The one before is closed when the last thread that reads from it lets it go.
            stream: IO[bytes] | gzip.GzipFile
            stream = gzip.open(path) if self.zipped[shard] else path.open("rb")  # noqa: SIM115
            self._open = held = (os.getpid(), shard, stream)
        return held[2]
