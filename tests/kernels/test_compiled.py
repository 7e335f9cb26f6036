"""What a GPU would run: every kernel compiles, keeps its values in registers and moves 128 bits at a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

from benchmarks.gpu_triton import compile_case
from benchmarks.triton_cases import CASES
from tests.kernels.cases import DEVICE

ROOT = Path(__file__).resolve().parents[2]
# In a process of its own: this one interprets Triton.
SCRIPT = """
import json, sys, torch
from base_fast.kernels import gaussian_sample, gumbel_softmax, mixed_sum
from benchmarks.gpu_triton import compile_case, compile_kernels
from benchmarks.triton_cases import CASES

def facts(kernel, name=""):
    read = {"name": f"{name}: {kernel.name}", "spills": kernel.spills, "ttir": kernel.ttir}
    return {**read, **{field: getattr(kernel.binary, field) for field in ("registers", "loads", "stores")}}

def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")

def sample(size):
    vectors = meta(size), meta(size), meta(2, dtype=torch.int64)
    return compile_kernels(lambda: gaussian_sample.gaussian_sample(*vectors), 90)

def mixed_backward(size):
    xs = [meta(size)]
    return compile_kernels(lambda: mixed_sum.mixed_sum_backward(xs[0], xs, meta(2), [0]), 90)[:1]

def strided(shape):
    xs = [meta(*shape), meta(*shape).to(memory_format=torch.channels_last)]
    return compile_kernels(lambda: mixed_sum.mixed_sum(xs, meta(2), [0, 1]), 90)

def numbers(tau):
    key = meta(2, dtype=torch.int64)
    softmax = lambda: gumbel_softmax.gumbel_softmax(meta(4, 8), key, tau, False, tau)
    return [kernel.ptx for kernel in compile_kernels(softmax, 90)]

found = {
    "cases": [facts(kernel, case.name) for case in CASES for kernel in compile_case(case, 90)],
    "odd": [facts(kernel) for kernel in sample(8191)],
    "huge": [facts(k) for k in (*sample(2**31 + 8), *mixed_backward(2**31), *strided((2, 3, 2**15, 2**16)))],
    "numbers": [numbers(1.0), numbers(0.3)],
}
json.dump(found, sys.stdout)
"""


def run(script: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


# One process makes what all of them look at.
pytestmark = pytest.mark.xdist_group("compiled")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(run(SCRIPT))
    return facts


@pytest.mark.slow
def test_nothing_spills_and_several_programs_fit(found: dict[str, Any]) -> None:
    for kernel in found["cases"]:
        assert kernel["spills"] == 0, kernel["name"]
        # Three programs of 128 threads in the 65,536 registers of a multiprocessor. The most that Triton's compilers
        # took is 122 (3.8) and 154 (3.9), for branches of two layouts.
        assert kernel["registers"] <= 168, kernel["name"]


@pytest.mark.slow
def test_elements_move_128_bits_at_a_time(found: dict[str, Any]) -> None:
    # Rows of five do not begin at multiples of 16 bytes.
    for kernel in (k for k in found["cases"] if "L=5" not in k["name"]):
        # Narrow loads are of weights, keys and numbers per channel, narrow stores of numbers per tile, row or channel.
        # In products over 16 channels a thread has two elements.
        assert 128 in kernel["loads"], kernel["name"]
        few = r": (kl|collect|add_up|statistics|projections|norm)$|16 channels.*: pointwise_weight_gradient$"
        narrow = re.search(few, kernel["name"])
        assert narrow or 128 in kernel["stores"], kernel["name"]


@pytest.mark.slow
def test_a_size_that_is_not_a_multiple_of_16_costs_the_last_block_alone(found: dict[str, Any]) -> None:
    (kernel,) = found["odd"]
    assert kernel["loads"].count(128) == 4 and kernel["stores"].count(128) == 2


@pytest.mark.slow
def test_elements_are_numbered_in_64_bits(found: dict[str, Any]) -> None:
    for kernel in found["huge"]:
        offsets = re.findall(r"tt\.addptr .* : tensor<[^>]*>>, tensor<(?:\d+x)+(i\d+)>", kernel["ttir"])
        assert offsets and set(offsets) == {"i64"}, (kernel["name"], offsets)
        assert re.search(r"%sizes?[.\d]*: i64", kernel["ttir"]), kernel["name"]


@pytest.mark.slow
def test_numbers_that_change_from_call_to_call_do_not_compile_anew(found: dict[str, Any]) -> None:
    first, second = found["numbers"]
    assert first == second


@pytest.mark.skipif(DEVICE != "cpu", reason="this process does not interpret Triton")
def test_interpreting_processes_say_that_they_cannot_compile() -> None:
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET"):
        compile_case(CASES[0], 90)
