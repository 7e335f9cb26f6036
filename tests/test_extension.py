"""The compiled extension: what is absent is said, what is broken is an error, and the instruction set can be chosen."""

from __future__ import annotations

import importlib.util
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


DOCTOR = "import sys; from base_fast.cli import main; sys.exit(main(['doctor']))"
USE = """
import warnings
warnings.simplefilter("error")
import torch, base_fast as bf
from base_fast.ops import extension
print(extension.CPU.broken, bf.backends()["gaussian_sample"]["cpu"])
x, edge = torch.zeros(3, requires_grad=True), bf.nn.MixedOp(4, 1, bf.space.DARTS.primitives)
for use in (
    lambda: bf.ops.gaussian_sample(x, x, bf.random.key(0)),
    lambda: edge(torch.ones(2, 4, 8, 8), torch.ones(8)),
):
    try:
        use()
        print("no error")
    except bf.InputError as error:
        print(error)
print(bf.Network(bf.space.genotypes.DARTS_V2, 2, 1, 2)(torch.ones(2, 3, 8, 8)).shape)
"""


def refusals(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What the two ops of `USE` say; the import went well, and what needs no kernel of ours works."""
    assert done.returncode == 0, done.stderr
    state, *said, shape = done.stdout.splitlines()
    assert state == "True none (its kernels cannot be loaded)"
    assert shape == "torch.Size([2, 2])"
    return said


@pytest.mark.parametrize(
    ("content", "message"), [(b"not a library" * 9, "invalid ELF"), (b"", "is cut off: it has 0 bytes")]
)
def test_a_broken_extension_is_an_error_at_its_first_op(tmp_path, content, message):
    folder = copy_without_extension(tmp_path)
    (folder / "base_fast" / "_C.abi3.so").write_bytes(content)
    for said in refusals(python(USE, folder)):
        assert said.startswith("the compiled kernels cannot be used: ")
        assert message in said and "_C.abi3.so" in said and "pip install --force-reinstall" in said


@pytest.mark.skipif(sys.platform != "linux", reason="it reads ELF")
def test_libraries_that_are_cut_off_are_not_loaded(tmp_path):
    """Loading one would end the process by a bus error."""
    library = Path(importlib.util.find_spec("_ctypes").origin)
    whole = library.read_bytes()
    assert extension._cut_off(library) is None
    for size in (0, 40, 64, 4096, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        (tmp_path / "cut.so").write_bytes(whole[:size])
        assert extension._cut_off(tmp_path / "cut.so") is not None, size
    (tmp_path / "other.so").write_bytes(b"#" * 1000)
    assert extension._cut_off(tmp_path / "other.so") is None


def test_doctor_explains_a_broken_extension(tmp_path):
    folder = copy_without_extension(tmp_path)
    (folder / "base_fast" / "_C.abi3.so").write_bytes(b"")
    done = python(DOCTOR, folder, COLUMNS="400")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.startswith("PROBLEM: ") and "_C.abi3.so is cut off" in last and "Traceback" not in done.stderr


needs_extension = pytest.mark.skipif(extension.CPU.module is None, reason=extension.CPU.missing)


@needs_extension
@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("BASE_FAST_ISA", "avx1024", "expected baseline, avx2 or avx512"),
        ("BASE_FAST_AMX", "yes", "expected 0 or 1"),
    ],
)
def test_an_unknown_choice_is_refused_and_named(variable, value, expected):
    for said in refusals(python(USE, ROOT, **{variable: value})):
        assert f"{variable}: got {value}, {expected}; unset {variable}" in said


@needs_extension
def test_doctor_names_the_variable_that_forces_a_choice():
    done = python(DOCTOR, ROOT, BASE_FAST_ISA="bogus", COLUMNS="300")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "PROBLEM: BASE_FAST_ISA: got bogus, expected baseline, avx2 or avx512; unset BASE_FAST_ISA" in done.stdout
    assert "bogus: forces the instruction set of the CPU kernels" in done.stdout


@needs_extension
@pytest.mark.parametrize("name", SETS)
def test_the_instruction_set_can_be_asked_for(name):
    code = (
        "import base_fast as bf; from base_fast.ops import extension; "
        "print(bf.backends()['gaussian_sample']['cpu'], extension.CPU.missing)"
    )
    done = python(code, ROOT, BASE_FAST_ISA=name)
    assert done.returncode == 0, done.stderr
    if "cannot be loaded" in done.stdout:
        # A set that is forced but not there is an error, never another set.
        assert f"BASE_FAST_ISA: got {name}, which this CPU or build lacks" in done.stdout
    else:
        assert done.stdout.strip() == f"C++ ({name})"


@needs_extension
def test_the_matrix_unit_can_be_refused():
    code = "from base_fast.ops import extension; print(extension.CPU.facts['matrix_unit'])"
    done = python(code, ROOT, BASE_FAST_AMX="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    assert isinstance(extension.CPU.facts["matrix_unit"], bool)


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
        # Not any: memory that is used again may hold the poison of before.
        assert not all(json.loads(module.fresh_memory()).values())
    finally:
        module.poison(True)


def test_the_import_leaves_triton_alone():
    # It is slow to import, and decides then for the whole process whether kernels are interpreted.
    done = python("import sys, base_fast; print('triton' in sys.modules)", ROOT)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


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
