"""How many multiply-adds the machine does in a second: the floor of everything that computes.

Measured by multiply-adds alone: as many independent sums as hide their latency, in registers, on as many threads as
torch has, compiled here and now for this processor. Without a compiler it is the rate of the fastest square matrix
product, which on an AVX-512 machine was 83 % of it. The fastest round counts.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from time import perf_counter

import torch

REPEATS, ROUNDS = 4_000_000, 15
# Sums in flight: latency (4 to 5 cycles) times two units, and registers for them.
SUMS = 12
SOURCE = f"""
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float Vector __attribute__((vector_size(BYTES)));
int lanes(void) {{ return BYTES / sizeof(float); }}
float multiply_add(long repeats, float m, float c) {{
  Vector sum[{SUMS}], all = {{0}};
  for (int i = 0; i < {SUMS}; ++i) sum[i] = all + (float)i;
  for (long r = 0; r < repeats; ++r)
#pragma GCC unroll {SUMS}
    for (int i = 0; i < {SUMS}; ++i) sum[i] = sum[i] * m + c;
  for (int i = 0; i < {SUMS}; ++i) all += sum[i];
  return all[0];
}}
"""


@cache
def multiply_add_rate() -> float:
    """float32 multiply-adds per second of all threads together."""
    library = _compiled()
    return _by_matrix_product() if library is None else _by_vectors(library)


def source() -> str:
    """What the rate was measured with."""
    return "matrix product" if _compiled() is None else "multiply-adds in registers"


@cache
def _compiled() -> ctypes.CDLL | None:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arithmetic.so"
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", "-x", "c", "-"]
        done = subprocess.run([compiler, *flags, "-o", str(path)], input=SOURCE, text=True, capture_output=True)
        return ctypes.CDLL(str(path)) if done.returncode == 0 else None


def _by_vectors(library: ctypes.CDLL) -> float:
    function = library.multiply_add
    function.restype = ctypes.c_float
    arguments = (ctypes.c_long(REPEATS), ctypes.c_float(0.999), ctypes.c_float(0.001))
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:

        def once() -> None:
            # ctypes releases the interpreter's lock.
            list(pool.map(lambda _: function(*arguments), range(threads)))

        return threads * REPEATS * SUMS * library.lanes() / _fastest(once)


def _by_matrix_product() -> float:
    def rate(n: int) -> float:
        a, b = torch.randn(n, n), torch.randn(n, n)
        return n**3 / _fastest(lambda: torch.mm(a, b))

    return max(rate(n) for n in (384, 768, 1536))


def _fastest(run: Callable[[], object]) -> float:
    def seconds() -> float:
        began = perf_counter()
        run()
        return perf_counter() - began

    return min(seconds() for _ in range(ROUNDS))
