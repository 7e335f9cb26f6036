"""Labelled images that are still files: what can be decoded, by whichever process and in whichever order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from base_fast.tasks.decode import BrokenImage, decode


class Listing(Protocol):
    """N encoded images with their labels; goes to other processes."""

    @property
    def name(self) -> str:
        """What the data is called."""

    @property
    def labels(self) -> Tensor:
        """int64 (N,), as the files say; not yet checked."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """One per class; None makes a class of every label that occurs."""

    @property
    def fingerprint(self) -> str:
        """Changes when a file or a label does, as far as names, sizes and times say."""

    @property
    def in_order_only(self) -> bool:
        """Whether to read an image takes reading those before it, as in a compressed shard."""

    def called(self, index: int) -> str:
        """The file's name, for messages."""

    def file(self, index: int) -> Path | bytes:
        """The encoded image: its path, or its bytes."""

    def flaw(self, index: int) -> str:
        """What is wrong with the file, as far as can be told without decoding it; "" where it looks whole."""


def decoded(listing: Listing, index: int, resolutions: Sequence[int]) -> list[Tensor]:
    """An image at each resolution: uint8 (3, R, R). Raises BrokenImage when it is damaged."""
    flaw = listing.flaw(index)
    if flaw:
        raise BrokenImage(flaw)
    file = listing.file(index)
    return [decode(file, resolution) for resolution in resolutions]


def by_class(labels: Tensor) -> Tensor:
    """The place of every image where those of a class lie side by side, in their order: int64 (N,)."""
    place = torch.empty_like(labels)
    place[torch.argsort(labels, stable=True)] = torch.arange(len(labels), device="cpu")
    return place
