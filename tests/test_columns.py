"""Every op is a column: one basename through every row, or a hole that is declared here with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ROWS = {
    "ops": "base_fast/ops/{op}.py",
    "tests": "tests/ops/test_{op}.py",
    "core": "csrc/core/{op}.h",
    "cpu": "csrc/cpu/torch/{op}.cpp",
    "cuda": "csrc/cuda/{op}.cu",
    "triton": "kernels/{op}.py",
    "benchmarks": "benchmarks/{op}.py",
}

# What lies beside the definitions without being an op.
NO_OPS = {
    "convolution": "PyTorch's convolution, without the case in which it fails",
    "own_module": "a primitive that is a PyTorch module of a user's",
    "philox": "the random words that the ops draw from",
    "primitives": "the convolutions and poolings that mixed_op weighs, computed by PyTorch",
}

_SMALL = "it sees a few hundred numbers: PyTorch's own operations are no loss"
_PRODUCT = "it is a matrix product around one norm: on a GPU PyTorch's own kernels do it"
_PASSES = "the arithmetic of its CPU passes is in csrc/cpu, and Triton serves it on CUDA"

# (op, row) -> why this op lacks it.
HOLES: dict[tuple[str, str], str] = {
    ("categorical_kl", row): _SMALL for row in ("core", "cpu", "cuda", "triton", "benchmarks")
}
HOLES |= {("mixed_op", row): _PASSES for row in ("core", "cuda")}
HOLES |= {("relu_conv_norm", row): _PRODUCT for row in ("core", "cuda", "triton")}
HOLES |= {("mixed_cell", row): "a cell is the passes of its edges, mixed_op's" for row in ("core", "cuda", "triton")}
HOLES |= {("mixed_cell", "benchmarks"): "timed as what it is for, a step of the supernet"}

DEFINITIONS = {path.stem for path in (ROOT / "base_fast" / "reference").glob("*.py")} - {"__init__"}
OPS = sorted(DEFINITIONS - set(NO_OPS))


def file_of(op: str, row: str) -> Path:
    return ROOT / ROWS[row].format(op=op)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("op", OPS)
def test_a_column_has_no_hole_that_is_not_declared(op, row):
    declared = (op, row) in HOLES
    exists = file_of(op, row).exists()
    assert exists or declared, f"{ROWS[row].format(op=op)} is missing: write it, or declare the hole with its reason"
    assert not (exists and declared), f"{ROWS[row].format(op=op)} is there: take it out of the declared holes"


@pytest.mark.parametrize("row", ["ops", "tests"])
def test_a_row_has_no_op_without_a_definition(row):
    from base_fast.ops import backends

    # An op's column is the longest that its name starts with: gaussian_sample_kl_backward.
    columns = {max((op for op in OPS if name.startswith(op)), key=len, default=name) for name in backends()}
    assert columns == set(OPS)
    for op in columns:
        assert file_of(op, row).exists()


def test_declarations_speak_of_what_exists():
    assert set(NO_OPS) <= DEFINITIONS
    assert all(op in OPS and row in ROWS for op, row in HOLES)
    assert all([*NO_OPS.values(), *HOLES.values()])
