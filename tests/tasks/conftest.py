"""Small sources, image files and shards that the tests share."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from base_fast.tasks import ArraySource

Member = tuple[str, bytes]


@pytest.fixture
def toy() -> ArraySource:
    """240 images, 8×8, 12 classes of 20; the first pixel of image i holds i in its red channel."""
    images = torch.randint(256, (240, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 0, 0, 0] = torch.arange(240, dtype=torch.uint8)
    return ArraySource("toy", images, torch.arange(240) % 12, [f"class {c}" for c in range(12)])


@pytest.fixture
def encode() -> Callable[..., bytes]:
    def encode(size: tuple[int, int] = (20, 14), colour: int = 0, format: str = "JPEG", mode: str = "RGB") -> bytes:
        noise = np.random.default_rng(colour).integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
        image = Image.fromarray(noise + np.uint8(colour)).convert(mode)
        out = io.BytesIO()
        image.save(out, format)
        return out.getvalue()

    return encode


@pytest.fixture
def write_tar() -> Callable[[Path, Sequence[Member]], Path]:
    def write_tar(path: Path, members: Sequence[Member]) -> Path:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
            for name, data in members:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return path

    return write_tar


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data sets, which is not part of the repository."""
    shared = Path(os.environ.get("BASE_FAST_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"{shared / 'data'} is absent; set BASE_FAST_SHARED to the folder that holds data/")
    return shared / "data"
