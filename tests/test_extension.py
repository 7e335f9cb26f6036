"""The compiled extension: what is absent is said, what is broken is an error, and the instruction set can be chosen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from base_fast.ops import backends, extension

ROOT = Path(__file__).resolve().parents[1]
SETS = ("baseline", "avx2", "avx512")


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def copy_without_extension(folder: Path) -> Path:
    shutil.copytree(ROOT / "base_fast", folder / "base_fast", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return folder


def test_without_an_extension_the_reference_serves_and_says_why(tmp_path):
    code = (
        "import torch, base_fast as bf\n"
        "theta = bf.ops.gaussian_sample(torch.zeros(3), torch.zeros(3), bf.random.key(0))\n"
        "print(bf.backends()['gaussian_sample']['cpu'], theta.shape)"
    )
    done = python(code, copy_without_extension(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("reference (_C is not built)")


def test_a_broken_extension_is_an_error(tmp_path):
    folder = copy_without_extension(tmp_path)
    (folder / "base_fast" / "_C.abi3.so").write_bytes(b"not a library")
    done = python("import base_fast", folder)
    assert done.returncode != 0
    assert "ImportError" in done.stderr and "_C.abi3.so" in done.stderr


needs_extension = pytest.mark.skipif(extension.CPU.module is None, reason=extension.CPU.missing)


@needs_extension
@pytest.mark.parametrize("name", ["avx1024", "AVX2"])
def test_an_unknown_instruction_set_is_refused_at_import(name):
    done = python("import base_fast", ROOT, BASE_FAST_ISA=name)
    assert done.returncode != 0
    assert f"BASE_FAST_ISA: got {name}, expected baseline, avx2 or avx512" in done.stderr


@needs_extension
@pytest.mark.parametrize("name", SETS)
def test_the_instruction_set_can_be_asked_for(name):
    code = "import base_fast as bf; print(bf.backends()['gaussian_sample']['cpu'])"
    done = python(code, ROOT, BASE_FAST_ISA=name)
    if done.returncode:
        # A set that is forced but not there is an error, never another set.
        assert f"BASE_FAST_ISA: got {name}, which this CPU or build lacks" in done.stderr
    else:
        assert done.stdout.strip() == f"C++ ({name})"


@needs_extension
def test_the_matrix_unit_can_be_refused():
    code = "from base_fast.ops import extension; print(extension.CPU.facts['matrix_unit'])"
    done = python(code, ROOT, BASE_FAST_AMX="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    assert isinstance(extension.CPU.facts["matrix_unit"], bool)
    done = python("import base_fast", ROOT, BASE_FAST_AMX="off")
    assert done.returncode != 0
    assert "BASE_FAST_AMX: got off, expected 0 or 1" in done.stderr


@needs_extension
def test_the_instruction_set_can_be_changed():
    module = extension.CPU.module
    before = module.isa()
    try:
        module.select_isa("baseline")
        assert backends()["gaussian_sample"]["cpu"] == "C++ (baseline)"
    finally:
        module.select_isa(before)
    assert module.isa() == before
    with pytest.raises(ValueError, match="got sse, expected baseline, avx2 or avx512"):
        module.select_isa("sse")
    with pytest.raises((TypeError, AttributeError)):
        module.select_isa(3)


@needs_extension
def test_poison_reaches_all_fresh_memory():
    """Results, kernels' own memory and that of their threads, each used before; every test runs with it."""
    module = extension.CPU.module
    ways = json.loads(module.fresh_memory())
    results, own = {"empty", "output_like", "dense_like", "empty_image"}, {"Buffer", "uninitialized", "thread_memory"}
    assert set(ways) == results | own
    assert all(ways.values()), ways
    try:
        module.poison(False)
        assert not any(json.loads(module.fresh_memory()).values())
    finally:
        module.poison(True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_poison_is_nan(dtype):
    assert torch.full((8,), 0xFF, dtype=torch.uint8).view(dtype).isnan().all()


def test_triton_serves_what_the_cuda_extension_has_no_kernel_for():
    pytest.importorskip("triton")
    code = (
        "import torch, base_fast as bf\n"
        "from base_fast.ops import extension, registry\n"
        "extension.CUDA = extension.Extension(object(), facts={'architectures': ['sm_80']})\n"
        "library = torch.library.Library('base_fast', 'IMPL')\n"
        "library.impl('both', torch.clone, 'CUDA')\n"
        "for name, column in (('both', 'probe'), ('triton_only', 'probe'), ('neither', None)):\n"
        "    registry.define_kernel(f'{name}(Tensor x) -> Tensor', torch.clone, torch.empty_like, column=column)\n"
        "    has = torch._C._dispatch_has_kernel_for_dispatch_key(f'base_fast::{name}', 'CUDA')\n"
        "    print(has, bf.backends()[name]['cuda'])"
    )
    done = python(code, ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "True CUDA C++ (compiled for sm_80)",
        "True Triton (the CUDA extension has no kernel for it)",
        "False reference (its kernels are for the CPU)",
    ]
