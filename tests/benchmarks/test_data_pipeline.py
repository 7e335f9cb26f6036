"""`python -m benchmarks.data_pipeline` on a few small images; under a limit of memory it runs by itself alone."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from benchmarks.data_pipeline import Sizes, decoding, reading, waiting


def test_the_tables(tmp_path) -> None:
    images = pytest.importorskip("PIL.Image")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for i in range(40):
            image = io.BytesIO()
            images.new("RGB", (12, 12), (6 * i, 0, 0)).save(image, "JPEG")
            for suffix, data in (("jpg", image.getvalue()), ("cls", b"%d" % (i % 4))):
                info = tarfile.TarInfo(f"{i}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    (tmp_path / "x-val-0.tar.gz").write_bytes(gzip.compress(archive.getvalue()))
    sizes = Sizes(tmp_path, resolutions=(8,), decoded=16, large=12, batch=4, channels=2, layers=1, steps=2, ways=2)
    out = tmp_path / "stores"
    assert [row[:2] for row in decoding(sizes, out).rows] == [("8", 40), ("12", 40)]
    read = reading(sizes, out).rows
    assert [row[1] for row in read] == [8, 8, *[16] * (len(read) - 2)] and all(row[2] > 0 for row in read)
    ((resolution, rate, seconds, share),) = waiting(sizes, out).rows
    assert resolution == 8 and rate == pytest.approx(4 / seconds) and 0 < share < 100
