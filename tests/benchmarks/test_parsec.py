"""`python -m benchmarks.parsec`: its table of biases; what it measures of memory is a test of PARSEC itself."""

from __future__ import annotations

import pytest

from benchmarks.parsec import Sizes, bias


def test_the_bias_falls_with_the_number_of_children() -> None:
    table = bias(Sizes(estimates=20_000))
    rows = {(row[0], row[1]): row[2] for row in table.rows}
    assert list(rows) == [(n, k) for n in (9, 25) for k in (1, 4, 16, 64)]
    for n in (9, 25):
        assert rows[n, 1] == pytest.approx(100.0, abs=20.0) and rows[n, 1] > rows[n, 4] > rows[n, 16]
