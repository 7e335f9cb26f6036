"""What tools leave behind is no data, and links are followed."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch

from base_fast.errors import InputError
from base_fast.tasks.folder_entries import in_numeric_order
from base_fast.tasks.image_folder import open_image_folder


@pytest.fixture
def pets(tmp_path, encode) -> Path:
    """Two images each of cat and dog."""
    for name in ("cat", "dog"):
        for i in range(2):
            file = tmp_path / "pets" / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode((8, 8), 50 * i, "PNG"))
    return tmp_path / "pets"


def counts(root: Path) -> dict[str, int]:
    source = open_image_folder(root)
    return dict(zip(source.class_names, source.labels.bincount(minlength=source.num_classes).tolist(), strict=True))


LEFT = [
    ".ipynb_checkpoints/a.png",
    "@eaDir/a.png/THUMB.png",
    "__MACOSX/cat/._0.png",
    ".thumbnails/a.png",
    "#recycle/a.png",
    "lost+found/a.png",
    "$RECYCLE.BIN/a.png",
    "System Volume Information/a.png",
    "._0.png",
    ".trashed-0.png",
    "Thumbs.db",
    "notes.txt",
]


@pytest.mark.parametrize("place", ["", "cat", "dog/more"])
def test_what_tools_leave_behind_is_no_data(pets, encode, place):
    for name in LEFT:
        file = pets / place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode((8, 8), 0, "PNG") if name[-6:] == "/a.png" else b"\0\5\x16\7")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert counts(pets) == {"cat": 2, "dog": 2}


def test_a_set_inside_a_hidden_folder_is_data(pets):
    pets.rename(pets.parent / ".cache")
    assert counts(pets.parent / ".cache") == {"cat": 2, "dog": 2}


def test_links_are_followed_once(pets, tmp_path):
    (pets / "cat").rename(tmp_path / "cats")
    (pets / "cat").symlink_to(tmp_path / "cats")  # a class
    (tmp_path / "more").mkdir()
    (pets / "dog" / "1.png").rename(tmp_path / "more" / "1.png")
    (pets / "dog" / "more").symlink_to("../../more")  # a folder inside a class
    (pets / "dog" / "again").symlink_to("../../more")
    (tmp_path / "more" / "loop").symlink_to(pets / "dog")
    (pets / "dog" / "2.png").symlink_to(tmp_path / "cats" / "0.png")  # a file
    assert counts(pets) == {"cat": 2, "dog": 3}


def test_links_that_lead_nowhere_are_named(pets):
    (pets / "dog" / "2.png").symlink_to("gone.png")
    with pytest.raises(InputError, match=r"1 of 5 images are corrupt: .*2\.png; .*\(the first: No such file"):
        open_image_folder(pets)
    (pets / "cow").symlink_to("../cows")
    with pytest.raises(InputError, match=r"cow is a link to \.\./cows, which is not there"):
        open_image_folder(pets)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(pets):
    (pets / "dog").chmod(0)
    try:
        with pytest.raises(InputError, match="dog cannot be read"):
            open_image_folder(pets)
    finally:
        (pets / "dog").chmod(0o755)


def test_every_suffix_that_pillow_reads_is_read(pets, encode):
    for suffix, kind in ((".jfif", "JPEG"), (".tga", "TGA"), (".jp2", "JPEG2000"), (".PGM", "PPM"), (".ico", "ICO")):
        (pets / "dog" / f"9{suffix}").write_bytes(encode((16, 16), 0, kind))
    assert counts(pets) == {"cat": 2, "dog": 7}


def test_images_that_are_passed_over_are_reported(pets, encode):
    (pets / "dog" / "no suffix").write_bytes(encode())
    (pets / "dog" / "a.jpg.bak").write_bytes(encode())
    (pets / "dog" / "b.heic").write_bytes(b"not for Pillow")
    (pets / "dog" / "notes.txt").write_text("no image")
    with pytest.warns(
        UserWarning, match="3 files look like images, but have no suffix that is read: .*a.jpg.bak"
    ) as said:
        assert counts(pets) == {"cat": 2, "dog": 2}
    assert len(said) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["0", "1", "2", "9", "10", "11", "100"],
        ["class 1", "class 2", "class 10", "class 10 b"],
        ["a", "b", "c"],
        ["007", "08", "9"],
        ["n01440764", "n02012849", "n10000000"],
        ["1", "01", "a1", "a" + "9" * 5000],
    ],
)
def test_numbers_in_names_count_as_numbers(names):
    same = sorted(reversed(names), key=in_numeric_order)
    assert [in_numeric_order(n)[:-1] for n in same] == [in_numeric_order(n)[:-1] for n in names]


def test_numbered_class_folders(tmp_path, encode):
    for i in range(12):
        (tmp_path / "set" / f"class {i}").mkdir(parents=True)
        (tmp_path / "set" / f"class {i}" / "a.png").write_bytes(encode((8, 8), 15 * i, "PNG"))
    source = open_image_folder(tmp_path / "set")
    assert source.class_names == tuple(f"class {i}" for i in range(12))
    levels = source.images(torch.arange(12), 8).float().mean((1, 2, 3))
    assert (levels.diff() > 0).all()
