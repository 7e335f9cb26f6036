"""Greys of more than 8 bits, orientations, and files that are cut off."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from base_fast.errors import InputError
from base_fast.tasks.decode import BrokenImage, decode
from base_fast.tasks.image_folder import open_image_folder

RAMP = np.linspace(0, 1, 256).reshape(16, 16)


def saved(array: np.ndarray, kind: str = "TIFF") -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind)
    return out.getvalue()


def tiff(array: np.ndarray, code: int, photometric: int = 1) -> bytes:
    """A grey TIFF of one strip, in formats that Pillow does not save: 1 unsigned, 2 signed, 3 floating point."""
    height, width = array.shape
    tags = [(256, 3, width), (257, 3, height), (258, 3, 8 * array.itemsize), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, array.nbytes), (339, 3, code)]
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    start = struct.pack("<I", 8 + array.nbytes)
    return b"II*\0" + start + array.tobytes() + struct.pack("<H", len(tags)) + table + bytes(4)


def pgm(array: np.ndarray) -> bytes:
    return b"P5\n16 16\n65535\n" + array.astype(">u2").tobytes()


WIDE = {
    "uint16 PNG": saved((RAMP * 65535).astype(np.uint16), "PNG"),
    "uint16 TIFF": saved((RAMP * 65535).astype(np.uint16)),
    "big-endian": saved((RAMP * 65535).astype(">u2")),
    "int32": saved((RAMP * 65535).astype(np.int32)),
    "uint32": tiff((RAMP * 65535).astype("<u4"), 1),
    "white is 0": tiff((65535 - RAMP * 65535).astype("<u2"), 1, 0),
    "PGM": pgm(RAMP * 65535),
    "float": saved(RAMP.astype(np.float32)),
    "float, white is 0": tiff((1 - RAMP).astype("<f4"), 3, 0),
    "PFM": b"Pf\n16 16\n-1.0\n" + RAMP[::-1].astype("<f4").tobytes(),
}


@pytest.mark.parametrize("data", WIDE.values(), ids=WIDE)
def test_the_whole_range_of_wide_greys_arrives(data):
    grey = decode(data, 16)
    assert (grey.double() / 255 - torch.from_numpy(RAMP)).abs().max() < 1 / 255
    assert torch.equal(grey[0], grey[1]) and torch.equal(grey[0], grey[2])


def test_half_of_the_range_is_half_as_bright():
    assert decode(tiff((RAMP * 32767).astype("<i2"), 2), 16).max() == 127
    assert decode(tiff((RAMP * 127).astype("<i1"), 2), 16).max() == 127
    assert decode(saved(np.zeros((16, 16), np.uint16)), 16).max() == 0


UNCLEAR = {
    "floats above 1": (saved((RAMP * 255).astype(np.float32)), "greys from 0 to 255, expected 0 for black to 1"),
    "negative floats": (saved((2 * RAMP - 1).astype(np.float32)), "greys from -1 to 1"),
    "NaN": (saved(np.where(RAMP > 0.5, np.nan, 0).astype(np.float32)), "greys from nan"),
    "negative int16": (tiff((RAMP * 4000 - 1000).astype("<i2"), 2), "greys from -1000 to 3000"),
    "negative int8": (tiff((RAMP * 200 - 100).astype("<i1"), 2), "greys from -100 to 100"),
    "int32 above 65535": (saved((RAMP * 1e6).astype(np.int32)), "greys from 0 to 1e"),
    "12 bits in 16": (saved((RAMP * 4095).astype(np.uint16)), "greys up to 4095 of 65535 would be almost black"),
    "8 bits in 16": (saved((RAMP * 255).astype(np.uint16), "PNG"), "greys up to 255 of 65535 would be almost black"),
}


@pytest.mark.parametrize(("data", "message"), UNCLEAR.values(), ids=UNCLEAR)
def test_greys_whose_white_is_a_guess_are_refused(tmp_path, data, message):
    with pytest.raises(BrokenImage, match=message):
        decode(data, 16)
    for name in ("a/0", "b/0"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.tif").write_bytes(data)
    with pytest.raises(InputError, match=rf"2 of 2 images are corrupt: .*a/0\.tif, .*\(the first: {message}"):
        open_image_folder(tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright_whatever_their_format(kind, orientation):
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16, :16] = 255
    upright[:16, 16:] = 120
    # How the camera stored what is upright when turned as the orientation says.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright), 7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }  # fmt: skip
    out, exif = io.BytesIO(), Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored[orientation])).save(out, kind, exif=exif)
    found = decode(out.getvalue(), 32).float()
    assert (found - torch.from_numpy(upright).permute(2, 0, 1).float()).abs().mean() < 6


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_orientation_is_no_damage():
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 90, 90)).save(out, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert (decode(out.getvalue(), 16).float() - 90).abs().max() < 3


FORMATS = ["bmp", "gif", "ppm", "tif", "png", "webp", "jpg", "tga", "jp2", "pcx", "sgi", "qoi"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.2, 0.75, 0.99])
def test_files_that_are_cut_off_are_left_out_in_every_format(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name in ("a/0", "a/1", "b/0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / f"{name}.{suffix}")
    victim = tmp_path / f"a/1.{suffix}"
    data = victim.read_bytes()
    victim.write_bytes(data[: int(share * len(data))])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        source = open_image_folder(tmp_path, max_corrupt=0.5)
    left_out = [str(w.message) for w in said if f"1.{suffix}; left out" in str(w.message)]
    assert (source.labels.tolist(), len(left_out)) == ([0, 1], 1)
    source.images(torch.arange(2), 8)


def test_a_jpeg_whose_preview_is_whole_is_cut_off_all_the_same(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    preview, photo = io.BytesIO(), io.BytesIO()
    noise.resize((16, 16)).save(preview, "JPEG")
    noise.save(photo, "JPEG", comment=preview.getvalue())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(photo.getvalue())
    (tmp_path / "a" / "1.jpg").write_bytes(photo.getvalue()[:2500])
    with pytest.warns(UserWarning, match="1 of 3 images are corrupt"):
        assert len(open_image_folder(tmp_path, max_corrupt=0.5).labels) == 2


def test_many_corrupt_files_fit_a_line(tmp_path):
    for i in range(60):
        file = tmp_path / "ab"[i % 2] / f"{i:02}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"damaged" if i < 30 else saved(np.zeros((8, 8), np.uint8), "PNG"))
    with pytest.warns(
        UserWarning, match=r"30 of 60 .* and 10 more; left out \(the first: not an image that Pillow can read"
    ):
        open_image_folder(tmp_path, max_corrupt=0.5)
