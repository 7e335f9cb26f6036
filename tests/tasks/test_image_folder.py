from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import base_fast.tasks.image_folder as image_folder_module
import base_fast.tasks.on_the_fly as on_the_fly_module
from base_fast.errors import InputError
from base_fast.tasks.decode import decode, square_rgb
from base_fast.tasks.image_folder import open_image_folder
from base_fast.tasks.parallel import map_in_order


@pytest.fixture
def folder(tmp_path, encode):
    """Two classes: three JPEGs of cat, and of dog a PNG, a nested GIF and a text file."""
    for name, data in {
        "cat/1.jpg": encode((40, 30), 0),
        "cat/2.JPEG": encode((30, 40), 60),
        "cat/3.jpg": encode((9, 9), 120),
        "dog/1.png": encode((16, 16), 180, "PNG"),
        "dog/more/2.gif": encode((16, 20), 190, "GIF"),
        "dog/notes.txt": b"not an image",
    }.items():
        file = tmp_path / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "pets"


def test_folders_are_classes_in_sorted_order(folder):
    source = open_image_folder(folder)
    assert (source.name, source.class_names, source.labels.tolist()) == ("pets", ("cat", "dog"), [0, 0, 0, 1, 1])
    levels = source.images(torch.arange(5), 8).float().mean((1, 2, 3))
    assert torch.allclose(levels, torch.tensor([30.0, 90, 150, 210, 220]), atol=8)
    assert source.images(torch.tensor([4, 0, 4]), 16).shape == (3, 3, 16, 16)
    assert source.images(torch.tensor([], dtype=torch.int64), 16).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("cache", [True, False])
def test_cache_keeps_what_was_decoded(folder, monkeypatch, cache):
    source = open_image_folder(folder, cache=cache)
    decoded = []

    def counting(file, resolution):
        decoded.append(file)
        return decode(file, resolution)

    for module in (image_folder_module, on_the_fly_module):
        monkeypatch.setattr(module, "decode", counting)
    first = source.images(torch.tensor([0, 1]), 8)
    assert torch.equal(source.images(torch.tensor([1, 0, 1]), 8), first[[1, 0, 1]])
    assert len(decoded) == (2 if cache else 5)
    source.images(torch.tensor([0]), 12)
    assert len(decoded) == (3 if cache else 6)


def rendered(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("image", "format", "options"),
    [
        (Image.new("L", (20, 30), 100), "JPEG", {}),
        (Image.new("1", (20, 30), 1), "PNG", {}),
        (Image.new("RGBA", (20, 30), (200, 200, 200, 0)), "PNG", {}),
        (Image.new("LA", (20, 30), (100, 0)), "PNG", {}),
        (Image.new("RGB", (20, 30), (50, 50, 50)).quantize(4), "PNG", {}),
        (Image.new("RGB", (20, 30), (50, 50, 50)).quantize(4), "PNG", {"transparency": b"\x00\x80"}),
        (Image.new("CMYK", (20, 30), (0, 0, 0, 100)), "JPEG", {}),
        (Image.fromarray(np.full((30, 20), 50 << 8, dtype=np.uint16)), "PNG", {}),
        (Image.new("RGB", (1, 90), (10, 10, 10)), "PNG", {}),
    ],
    ids=["grey", "bilevel", "rgba", "grey-alpha", "palette", "palette-alpha", "cmyk", "grey16", "one pixel wide"],
)
def test_every_mode_becomes_rgb(image, format, options):
    pixels = decode(rendered(image, format, **options), 8)
    assert (pixels.shape, pixels.dtype) == ((3, 8, 8), torch.uint8)
    level = {"L": 100, "1": 255, "RGBA": 200, "LA": 100, "P": 50, "CMYK": 155, "I;16": 50, "RGB": 10}[image.mode]
    assert (pixels.float() - level).abs().max() <= 3


def test_the_centre_is_kept():
    stripes = np.zeros((10, 30, 3), dtype=np.uint8)
    stripes[:, 10:20] = 255
    assert (decode(rendered(Image.fromarray(stripes), "PNG"), 10) == 255).all()


def test_truncated_files_are_left_out_and_named(folder, encode):
    (folder / "cat" / "2.JPEG").write_bytes(encode((200, 200), 60)[:-2000])
    (folder / "dog" / "0.png").write_bytes(encode((60, 60), 180, "PNG")[:-2000])
    (folder / "dog" / "zero.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"3 of 7 images are corrupt: .*2\.JPEG, .*0\.png, .*zero\.jpg; left out"):
        source = open_image_folder(folder, max_corrupt=0.5)
    assert source.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match="3 of 7 images are corrupt"):
        open_image_folder(folder)


def test_a_jpeg_without_an_end_marker_that_still_decodes_is_kept(folder):
    file = folder / "cat" / "1.jpg"
    file.write_bytes(file.read_bytes() + b"\0" * 5000)
    assert len(open_image_folder(folder).labels) == 5


def test_damage_found_when_the_image_is_used_names_the_file(folder):
    source = open_image_folder(folder)
    (folder / "cat" / "2.JPEG").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"2\.JPEG: cannot be decoded"):
        source.images(torch.arange(5), 8)


def test_too_large_an_image_is_corrupt(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="images are corrupt"):
        open_image_folder(folder)
    with pytest.raises(ValueError, match="decompression bomb"):
        decode(folder / "cat" / "1.jpg", 8)


def test_folder_errors(folder, tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        open_image_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no folders"):
        open_image_folder(folder / "cat")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="empty has no images"):
        open_image_folder(folder)


def test_one_class(tmp_path, encode):
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.jpg").write_bytes(encode())
    with pytest.raises(InputError, match=r"only one class \(only\)"):
        open_image_folder(tmp_path)


def test_full_size_photographs(shared_data):
    source = open_image_folder(shared_data / "imagenet_sample" / "train", "imagenet_sample")
    assert (source.num_classes, len(source.labels)) == (50, 50)
    assert source.images(torch.arange(50), 224).shape == (50, 3, 224, 224)


def test_decoding_at_a_fraction_of_the_size_agrees_with_decoding_in_full(shared_data):
    gaps = []
    for file in sorted((shared_data / "imagenet_sample" / "train").rglob("*.JPEG"))[:20]:
        with Image.open(file) as image:
            gaps.append((square_rgb(image, 32).float() - decode(file, 32).float()).abs().mean())
    # measured: 2.7 grey levels of 255 on average, from the two filters
    assert torch.stack(gaps).mean() < 4


def test_the_map_keeps_order_reads_only_a_little_ahead_and_passes_errors_on():
    taken = []
    results = map_in_order(lambda i: 1000 // (500 - i), (taken.append(i) or i for i in range(1000)))
    assert [next(results) for _ in range(3)] == [2, 2, 2]
    assert len(taken) < 200
    with pytest.raises(ZeroDivisionError):
        list(results)
