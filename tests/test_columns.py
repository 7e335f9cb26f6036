"""Every op is a column: one basename through every row, or a hole that is declared here with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ROWS = {
    "ops": "base_fast/ops/{op}.py",
    "tests": "tests/ops/test_{op}.py",
    "core": "csrc/core/{op}.h",
    "cpu": "csrc/cpu/{op}.cpp",
    "cuda": "csrc/cuda/{op}.cu",
    "triton": "kernels/{op}.py",
    "benchmarks": "benchmarks/{op}.py",
}

# What lies beside the definitions without being an op.
NO_OPS = {
    "philox": "the random words that the ops draw from",
    "primitives": "the convolutions and poolings that mixed_op weighs, computed by PyTorch",
}

_NOT_LANDED = "compiled kernels have not landed yet: the op runs on its reference"

# Row -> why no op has it.
EMPTY_ROWS = dict.fromkeys(("core", "cpu", "cuda", "triton", "benchmarks"), _NOT_LANDED)

# (op, row) -> why this op lacks it.
HOLES: dict[tuple[str, str], str] = {}

DEFINITIONS = {path.stem for path in (ROOT / "base_fast" / "reference").glob("*.py")} - {"__init__"}
OPS = sorted(DEFINITIONS - set(NO_OPS))


def file_of(op: str, row: str) -> Path:
    return ROOT / ROWS[row].format(op=op)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("op", OPS)
def test_a_column_has_no_hole_that_is_not_declared(op, row):
    declared = row in EMPTY_ROWS or (op, row) in HOLES
    exists = file_of(op, row).exists()
    assert exists or declared, f"{ROWS[row].format(op=op)} is missing: write it, or declare the hole with its reason"
    assert not (exists and declared), f"{ROWS[row].format(op=op)} is there: take it out of the declared holes"


@pytest.mark.parametrize("row", ["ops", "tests"])
def test_a_row_has_no_op_without_a_definition(row):
    from base_fast.ops import backends

    assert set(backends()) == set(OPS)
    for op in backends():
        assert file_of(op, row).exists()


def test_declarations_speak_of_what_exists():
    assert set(NO_OPS) <= DEFINITIONS
    assert set(EMPTY_ROWS) <= set(ROWS)
    assert all(op in OPS and row in ROWS and row not in EMPTY_ROWS for op, row in HOLES)
    assert all([*NO_OPS.values(), *EMPTY_ROWS.values(), *HOLES.values()])
