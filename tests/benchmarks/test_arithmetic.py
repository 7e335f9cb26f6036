"""The machine's rate of multiply-adds, with and without a compiler."""

from __future__ import annotations

import pytest

from benchmarks import arithmetic


@pytest.fixture
def _short(monkeypatch):
    monkeypatch.setattr(arithmetic, "REPEATS", 20_000)
    monkeypatch.setattr(arithmetic, "ROUNDS", 2)


@pytest.mark.usefixtures("_short")
def test_the_rate_is_that_of_a_processor():
    rates = [arithmetic._by_matrix_product()]
    library = arithmetic._compiled()
    if library is not None:
        rates.append(arithmetic._by_vectors(library))
    assert all(1e8 < rate < 1e15 for rate in rates)


def test_without_a_compiler_a_matrix_product_serves(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(arithmetic, "_by_matrix_product", lambda: 7.0)
    for cached in (arithmetic._compiled, arithmetic.multiply_add_rate):
        cached.cache_clear()
    try:
        assert arithmetic.multiply_add_rate() == 7.0 and arithmetic.source() == "matrix product"
    finally:
        for cached in (arithmetic._compiled, arithmetic.multiply_add_rate):
            cached.cache_clear()
